//! Texts with placeholders that a session's name fills.

use regex::Regex;
use supervisor::{TemplateError, TemplatePart};

use crate::control::placeholders;
use crate::folder::SessionName;

/// A text with placeholders: `{session}` is the session's name, `{NAME}` what the named
/// group NAME of `connection.session_pattern` captured from it, `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTemplate(supervisor::Template);

impl SessionTemplate {
    /// Parses a template. `pattern` must match a whole session name.
    ///
    /// Errors: a placeholder that neither is `session` nor a group of the pattern, or a
    /// brace left open. They do not repeat the text, which may hold a secret.
    pub fn parse(text: &str, pattern: Option<&Regex>) -> Result<Self, TemplateError> {
        supervisor::Template::parse(text, &placeholders(pattern)).map(Self)
    }

    pub(super) fn parts(&self) -> &[TemplatePart] {
        self.0.parts()
    }

    pub(super) fn with_parts(&self, parts: Vec<TemplatePart>) -> Self {
        Self(self.0.with_parts(parts))
    }

    /// Whether no two sessions have the same text: it holds the whole name, and nothing else
    /// that differs.
    pub(super) fn names_the_session(&self) -> bool {
        let is_group = |part: &TemplatePart| matches!(part, TemplatePart::Group(_));
        self.0.has_subject() && !self.parts().iter().any(is_group)
    }

    /// The text for one session.
    ///
    /// Errors: the pattern does not match its name, or a name that begins with a dash would
    /// stand first.
    pub(super) fn fill(
        &self,
        session: &SessionName,
        encode: impl Fn(&str) -> String,
    ) -> Result<String, String> {
        self.0
            .fill(session.as_str(), encode)
            .map_err(|why| format!("was not asked: {why}"))
    }
}
