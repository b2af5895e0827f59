//! What several parts of the recognition search for, and how.

use regex::bytes::{Regex, RegexBuilder};

/// Words for other programs and connections, in the log of a bot.
pub(super) const ANOTHER_PROGRAM: &str = concat!(
    r"\b(?:telegram|telegraf|discord|slack|signal-cli|chatwoot|typebot|dify|n8n|openai|chatgpt|gpt|gemini|groq|",
    r"deepseek|anthropic|claude|elevenlabs|dialogflow|firebase|firestore|supabase|redis|mysql|mariadb|",
    r"postgres\w*|mongo\w*|sqlite|amqp|rabbitmq|kafka|mqtt|crm|erp|smtp|imap|e?mail|spotify|youtube|tiktok|",
    r"instagram|facebook|twitter|github|stripe|paypal|mercado ?pago|webhooks?|proxy|panel|dashboard|",
    r"api|http|oauth|jwt|token|socket\.io|tickets?|orders?|pedidos?|backend|database|ftp|ssh|vpn|printer|",
    r"impresora|impressora|minio|cloudinary)\b|",
    r"\b(?:user|usuario|usu.{1,2}rio|admin|customer|pengguna) [\w@.-]{1,40} (?:was |has been )?logged out\b|",
    r"\bkullan.{1,2}c.{1,2} |\bm.{1,2}.{1,2}teri "
);

/// An expression that ignores case, in bytes. `None`: it is invalid.
pub(super) fn expression(source: &str) -> Option<Regex> {
    RegexBuilder::new(source)
        .case_insensitive(true)
        .multi_line(true)
        .unicode(false)
        .build()
        .ok()
}
