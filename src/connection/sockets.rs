//! An ESTABLISHED connection of the bot's process to WhatsApp's port is evidence of a
//! connection. That there is none is evidence of nothing: the process may be another one,
//! a child may hold the socket, or its network may not be visible from here.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{Evidence, Finding, looks};

/// Where WhatsApp listens.
const PORT: u16 = 443;
/// The kernel's number for ESTABLISHED.
const ESTABLISHED: &str = "01";

/// Whether one of these processes is connected to WhatsApp.
pub(super) async fn look(pids: Vec<u32>, timeout: Duration) -> Evidence {
    let seen = looks::within("looking at the sockets", timeout, move || {
        Ok(ask(&pids, PORT))
    })
    .await;
    seen.unwrap_or_else(|why| Evidence::new("sockets", Finding::Silent, why))
}

/// Whether one of these processes is connected to `port` somewhere. Blocks.
fn ask(pids: &[u32], port: u16) -> Evidence {
    let say = |finding, detail: String| Evidence::new("sockets", finding, detail);
    let mut looked = false;
    for pid in pids {
        match is_connected(Path::new("/proc"), *pid, port) {
            Ok(true) => {
                return say(
                    Finding::Connected,
                    format!("process {pid} has a connection to port {port}"),
                );
            }
            Ok(false) => looked = true,
            Err(_) => {}
        }
    }
    match looked {
        true => say(
            Finding::Nothing,
            format!("no connection to port {port} was seen, which says nothing"),
        ),
        false => say(
            Finding::Nothing,
            "the sockets cannot be seen by this user".into(),
        ),
    }
}

fn is_connected(proc: &Path, pid: u32, port: u16) -> std::io::Result<bool> {
    let dir = proc.join(pid.to_string());
    let mut inodes = BTreeSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        // Without IPv6 there is no tcp6.
        let Ok(bytes) = std::fs::read(dir.join(table)) else {
            continue;
        };
        inodes.extend(established(&String::from_utf8_lossy(&bytes), port));
    }
    // Asked even where there is nothing to find, so that "cannot be seen" is told.
    for entry in std::fs::read_dir(dir.join("fd"))? {
        // A descriptor may be closed meanwhile.
        let Ok(target) = entry.and_then(|entry| std::fs::read_link(entry.path())) else {
            continue;
        };
        let inode = target
            .to_str()
            .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        if inode.is_some_and(|inode: u64| inodes.contains(&inode)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The inodes of the ESTABLISHED connections to `port` in the text of /proc/net/tcp or
/// tcp6. A line of another shape is passed over.
fn established(text: &str, port: u16) -> BTreeSet<u64> {
    let inode = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let remote = words.nth(2)?;
        let state = words.next()?;
        let (address, remote_port) = remote.split_once(':')?;
        let shaped =
            matches!(address.len(), 8 | 32) && address.bytes().all(|b| b.is_ascii_hexdigit());
        let is_it =
            u16::from_str_radix(remote_port, 16).ok()? == port && state == ESTABLISHED && shaped;
        // tx:rx, timer, retransmits, uid, timeout, inode
        let inode: u64 = words.nth(5)?.parse().ok()?;
        (is_it && inode != 0).then_some(inode)
    };
    text.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn lines_of_all_kinds() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 10 1 0 100 0\n\
            \x20  1: 0A00000A:C350 1F0D0B9D:01BB 01 00000000:00000000 02:000005D1 00000000  1000        0 11 2 0 20 4\n\
            \x20  2: 0A00000A:C351 1F0D0B9D:01BB 06 00000000:00000000 03:000005D1 00000000     0        0 0 3 0\n\
            \x20  3: 0A00000A:C352 1F0D0B9D:0050 01 00000000:00000000 02:000005D1 00000000  1000        0 13 2 0\n\
            \x20  4: 0A00000A:01BB 1F0D0B9D:C352 01 00000000:00000000 02:000005D1 00000000  1000        0 14 2 0\n\
            \x20  5: 0A00000A:C353 1F0D0B9D:01BB 08 00000000:00000000 02:000005D1 00000000  1000        0 15 2 0\n";
        assert_eq!(
            established(tcp, PORT),
            BTreeSet::from([11]),
            "443 remote and ESTABLISHED only"
        );
        let tcp6 = "  sl  local_address                         remote_address                        st tx rx\n\
            \x20  0: 000080FE000000000000000000000001:C350 B80D01200000000000000000010000FF:01BB 01 00000000:00000000 02:0 0 1000 0 21 2 0\n\
            \x20  1: 0000000000000000FFFF00000A00000A:C351 0000000000000000FFFF00001F0D0B9D:01BB 01 00000000:00000000 02:0 0 1000 0 22 2 0\n";
        assert_eq!(
            established(tcp6, PORT),
            BTreeSet::from([21, 22]),
            "v6, and v4 within v6"
        );
        for garbage in [
            "",
            "x",
            "h\n1: a b c d e f g h",
            "h\n1: x 1F0D0B9D:01BB 01",
            "h\n1: x zz:01BB 01 a b c d e 5",
        ] {
            assert!(established(garbage, PORT).is_empty(), "{garbage}");
        }
    }

    #[test]
    fn a_real_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = std::process::id();
        assert_eq!(ask(&[me], port).finding, Finding::Nothing);
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(ask(&[me], port).finding, Finding::Connected);
        // The connection is this process's, not that of another one in the same network.
        let mut other = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert_eq!(ask(&[other.id()], port).finding, Finding::Nothing);
        other.kill().unwrap();
        other.wait().unwrap();
        drop(stream);
        assert_eq!(ask(&[], port).finding, Finding::Nothing);
        assert_eq!(ask(&[u32::MAX], port).finding, Finding::Nothing);
    }
}
