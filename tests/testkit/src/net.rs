//! Free ports, a small HTTP client, and the text form of metrics.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use ureq::Agent;

use crate::{Doing, Result};

/// A port on 127.0.0.1 without a listener: `preferred`, or any other.
///
/// It is below the range from which the kernel takes the ports of outgoing connections,
/// so nothing else takes it by chance before its server listens. Each test process has a
/// block of ports of its own and gives them out in turn, so two callers get the same one
/// only after the whole block was given out, and then only if it is free again.
pub fn free_port(preferred: Option<u16>) -> Result<u16> {
    static BLOCK: LazyLock<Result<Block>> = LazyLock::new(Block::reserve);
    if let Some(port) = preferred.filter(|port| is_free(*port)) {
        return Ok(port);
    }
    let block = BLOCK.as_ref().map_err(Clone::clone)?;
    let mut next = block.next.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..Block::SIZE {
        let port = block.first + *next;
        *next = (*next + 1) % Block::SIZE;
        if is_free(port) {
            return Ok(port);
        }
    }
    Err("no free port on 127.0.0.1".to_owned())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Ports that belong to this process as long as it runs.
struct Block {
    first: u16,
    next: Mutex<u16>,
    /// Locked for as long as the block is reserved.
    _lock: File,
}

impl Block {
    const FIRST: u16 = 20_000;
    const SIZE: u16 = 250;
    const COUNT: u16 = 40;

    fn reserve() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!(
            "baileys-testkit-ports-{}",
            rustix::process::getuid().as_raw()
        ));
        std::fs::create_dir_all(&dir).doing(dir.display())?;
        let start = (RandomState::new().hash_one(std::process::id()) % 40) as u16;
        for step in 0..Self::COUNT {
            let number = (start + step) % Self::COUNT;
            let lock = File::create(dir.join(number.to_string())).doing(dir.display())?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self {
                    first: Self::FIRST + number * Self::SIZE,
                    next: Mutex::new(0),
                    _lock: lock,
                });
            }
        }
        Err("more test processes run than there are blocks of ports".to_owned())
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body, if the status is 200.
    pub fn ok(self) -> Result<String> {
        match self.status {
            200 => Ok(self.body),
            status => Err(format!("HTTP {status}")),
        }
    }
}

/// No proxy: everything is on this machine, whatever the environment says.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
});

/// `GET url`.
pub fn get(url: &str) -> Result<Answer> {
    answer(url, AGENT.get(url).call())
}

/// `POST url`.
pub fn post(url: &str, headers: &[(String, String)], body: &[u8]) -> Result<Answer> {
    let mut request = AGENT.post(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    answer(url, request.send(body))
}

/// `DELETE url`.
pub fn delete(url: &str) -> Result<Answer> {
    answer(url, AGENT.delete(url).call())
}

fn answer(
    url: &str,
    response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer> {
    let mut response = response.doing(url)?;
    let headers = response.headers().iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    Ok(Answer {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: response.body_mut().read_to_string().doing(url)?,
    })
}

/// Percent-encodes a value for a query.
pub fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// One series of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Scrapes `url`.
    pub fn scrape(url: &str) -> Result<Self> {
        Self::parse(&get(url)?.ok().doing(url)?).doing(url)
    }

    /// Reads the text form 0.0.4.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples: Option<Vec<Sample>> = lines.map(parse_line).collect();
        samples
            .map(Self)
            .ok_or_else(|| "a line that is no sample".to_owned())
    }

    /// The series of that name that have all these labels.
    pub fn having<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(name, value)| sample.labels.get(*name).is_some_and(|have| have == value))
        })
    }

    /// Their sum; an error when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let values: Vec<f64> = self
            .having(name, labels)
            .map(|sample| sample.value)
            .collect();
        if values.is_empty() {
            return Err(format!("no series {name} {labels:?}"));
        }
        Ok(values.iter().sum())
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (at, '"') => break at + 1,
                    (_, other) => value.push(other),
                }
            };
            labels.insert(label.to_owned(), value);
            rest = after[end..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reads_samples_with_awkward_labels() {
        let text = "# HELP a b\na 1\nb{x=\"1,}\\\"\\\\\\n\",y=\"\"} 2.5\nc{} +Inf 12\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("a", &[]), Ok(1.0));
        assert_eq!(metrics.sum("b", &[("x", "1,}\"\\\n"), ("y", "")]), Ok(2.5));
        assert_eq!(metrics.sum("c", &[]), Ok(f64::INFINITY));
        assert!(metrics.sum("b", &[("x", "2")]).is_err());
        assert!(Metrics::parse("a{b=\"c} 1").is_err());
    }

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port(None).unwrap()).collect();
        assert_eq!(ports.len(), 50);
        let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert_ne!(free_port(Some(port)).unwrap(), port);
    }
}
