use std::collections::BTreeSet;

/// Otherwise all hosts poll at the same time.
#[test]
fn a_random_number_is_from_0_to_1_and_not_always_the_same() {
    let numbers: Vec<f64> = (0..100).map(|_| super::random()).collect();
    assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
    let different: BTreeSet<u64> = numbers.iter().map(|number| number.to_bits()).collect();
    assert!(different.len() > 10);
}
