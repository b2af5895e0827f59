//! Tests of `container`.
