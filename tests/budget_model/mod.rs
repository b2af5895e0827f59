//! What happens in each scenario, and a model of what Alertmanager makes of the alerts.

pub mod alertmanager;
pub mod scenarios;
