use super::*;
use std::net::{TcpListener, TcpStream};

#[test]
fn a_real_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let me = std::process::id();
    assert_eq!(ask(&[me], port).finding, Finding::Nothing);
    let _stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(&[u32::MAX, me], port).finding, Finding::Connected);
    for unseen in [&[][..], &[u32::MAX]] {
        let evidence = ask(unseen, port);
        assert_eq!(evidence.finding, Finding::Nothing);
        assert!(evidence.detail.contains("cannot be seen"));
    }
}
