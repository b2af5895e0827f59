//! Tests of `systemd`.
