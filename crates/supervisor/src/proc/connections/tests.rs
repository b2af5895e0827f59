use super::*;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

#[test]
fn a_real_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let me = std::process::id();
    let sockets = |pid, port| connections_to(pid, port).unwrap().inodes;
    assert!(sockets(me, port).is_empty(), "a listener is none");
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let first = sockets(me, port);
    assert_eq!(first.len(), 1);
    let other_port = stream.local_addr().unwrap().port().wrapping_add(1);
    assert!(sockets(me, other_port).is_empty());
    let own = ProcDir::default().info(me).unwrap().unwrap();
    assert_eq!(connections_to(me, port).unwrap().started, own.started);
    // The connection is this process's, not that of another one in the same network.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    assert!(sockets(other.id(), port).is_empty());
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(connections_to(u32::MAX, port).is_err());
    // It stays the same socket as long as it is open, and the next one is another.
    assert_eq!(sockets(me, port), first);
    drop(stream);
    assert!(sockets(me, port).is_empty());
    let _stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let second = sockets(me, port);
    assert!(second.len() == 1 && second.is_disjoint(&first));
}

/// Runs a script in a shell and waits until it has written a line.
fn shell(script: &str) -> Child {
    let mut child = Command::new("bash")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    child
}

/// As with `npm start`, where a shell between the two processes starts the bot.
#[test]
fn what_a_wrapper_has_started_counts_as_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bot = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo x; read -r x <&3");
    let mut wrapper = shell(&format!("sh -c \"bash -c '{bot}'; :\"; :"));
    let (connection, _) = listener.accept().unwrap();
    let found = connections_to(wrapper.id(), port).unwrap();
    assert_eq!((found.inodes.len(), found.is_whole), (1, true));
    let without = connections_to(wrapper.id(), 1).unwrap();
    assert!(without.own_pids.contains(&wrapper.id()) && without.own_pids.len() == 3);
    let own = ProcDir::default().info(wrapper.id()).unwrap().unwrap();
    assert_eq!(found.started, own.started, "that of the wrapper");
    // This program's other child is none of the wrapper's.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    assert!(connections_to(other.id(), port).unwrap().inodes.is_empty());
    other.kill().unwrap();
    other.wait().unwrap();
    drop(connection);
    wrapper.wait().unwrap();
    assert!(connections_to(wrapper.id(), port).is_err(), "it has ended");
}

#[test]
fn what_another_thread_has_started_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, started) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo x; read -r x <&3");
        let mut child = shell(&script);
        send.send(()).unwrap();
        let _ = ended.recv();
        child.wait().unwrap();
    });
    started.recv().unwrap();
    let found = connections_to(std::process::id(), port).unwrap();
    assert_eq!(found.inodes.len(), 1);
    drop(listener.accept().unwrap());
    drop(end);
    thread.join().unwrap();
}

/// More than are looked at: what was not seen proves nothing.
#[test]
fn a_tree_that_is_too_large_is_not_whole() {
    let many = MOST_PROCESSES + 5;
    let script =
        format!("exec 2>/dev/null; for n in $(seq {many}); do sleep 60 & done; echo x; wait");
    let mut wrapper = shell(&script);
    let found = connections_to(wrapper.id(), 443).unwrap();
    assert!(!found.is_whole);
    let root = Process::new(i32::try_from(wrapper.id()).unwrap()).unwrap();
    let (children, is_all) = started_by(&root);
    assert!(!is_all && children.len() == MOST_PROCESSES);
    for pid in root
        .tasks()
        .unwrap()
        .flatten()
        .flat_map(|task| task.children().unwrap())
    {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    wrapper.wait().unwrap();
}
