//! What a person is sent: an alert, by the template of a shipped receiver, through the real amtool.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::alertmanager::shipped;
use crate::process;
use crate::stack::INSTALL;
use crate::{Doing, Result};

/// Rendering takes no second.
const BOUND: Duration = Duration::from_secs(30);

/// The template of the first receiver in `alerting-rules/receivers/telegram.yml`.
///
/// # Errors
/// There is none.
pub fn template() -> Result<String> {
    let text = shipped("receivers/telegram.yml")?;
    let mut lines = text.lines().skip_while(|line| line.trim() != "message: |-");
    let key = lines.next().ok_or("telegram.yml: no message")?;
    let depth = key.len() - key.trim_start().len();
    let is_inside = |line: &&str| line.is_empty() || line.starts_with(&" ".repeat(depth + 1));
    let lines = lines.take_while(is_inside);
    let lines: Vec<&str> = lines
        .map(|line| line.get(depth + 2..).unwrap_or_default())
        .collect();
    Ok(lines.join("\n").trim_end().to_owned())
}

/// The text of the message about one firing alert, as `GET /api/v2/alerts` has it.
///
/// # Errors
/// amtool is not installed, or refuses the template.
pub fn text(alert: &Value, dir: &Path) -> Result<String> {
    render(&template()?, std::slice::from_ref(alert), dir)
}

/// The text of the message about these firing alerts, by a template of a receiver.
///
/// # Errors
/// amtool is not installed, or refuses the template.
pub fn render(template: &str, alerts: &[Value], dir: &Path) -> Result<String> {
    let amtool = process::find(&["amtool"])
        .ok_or_else(|| format!("amtool is not installed; run: {INSTALL}"))?;
    let alerts: Vec<Value> = alerts
        .iter()
        .map(|alert| {
            json!({
                "status": "firing", "labels": alert["labels"], "annotations": alert["annotations"],
            })
        })
        .collect();
    let data = json!({"receiver": "pager", "status": "firing", "alerts": alerts});
    let file = dir.join("notification.json");
    fs::write(&file, data.to_string()).doing(file.display())?;
    let args = [
        "template".to_owned(),
        "render".to_owned(),
        "--template.glob=/dev/null".to_owned(),
        format!("--template.text={template}"),
        format!("--template.data={}", file.display()),
    ];
    let (status, out, err) = process::run(&amtool, &args, BOUND)?;
    match status.success() {
        true => Ok(out.trim().to_owned()),
        false => Err(format!("amtool template render: {err}")),
    }
}
