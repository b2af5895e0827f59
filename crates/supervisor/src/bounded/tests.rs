//! Tests of `bounded`.
