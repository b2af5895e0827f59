//! Tests of `pm2`.
