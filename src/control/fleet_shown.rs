//! The registry as JSON, and for Prometheus.

use serde::Serialize;

use crate::shared::fleet::LinkState;

use super::fleet::FleetView;

#[derive(Serialize)]
struct RegistryJson<'a> {
    state: &'static str,
    endpoint: Option<&'a str>,
    revision: u64,
    age_s: u64,
    instances: &'a [String],
    error: Option<&'a str>,
}

/// The answer to `GET /v1/registry`.
pub fn json(view: &FleetView) -> String {
    let json = RegistryJson {
        state: view.state.as_str(),
        endpoint: view.endpoint.as_deref(),
        revision: view.revision,
        age_s: view.age.0 / 1_000_000,
        instances: &view.instances,
        error: view.error.as_deref(),
    };
    // Texts, numbers and lists are always written.
    serde_json::to_string(&json).unwrap_or_default() + "\n"
}

/// The metrics, in the format of all others.
pub fn render(view: &FleetView) -> String {
    let is_up = u64::from(view.state == LinkState::Watching);
    let families = [
        (
            "httplb_registry_up",
            "gauge",
            "1 while changes of the registry come as they are made.",
            is_up,
        ),
        (
            "httplb_registry_age_seconds",
            "gauge",
            "For how long nothing was heard of the registry.",
            view.age.0 / 1_000_000,
        ),
        ("httplb_registry_events_total", "counter", "Changes of the registry.", view.events),
    ];
    let family = |(name, kind, help, value): (&str, &str, &str, u64)| {
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
    };
    families.map(family).concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::time::Micros;

    #[test]
    fn the_registry_has_the_keys_of_the_contract_in_their_order() {
        let mut view = FleetView {
            state: LinkState::Watching,
            endpoint: Some(String::from("10.0.0.1:2379")),
            revision: 107,
            age: Micros(1_900_000),
            instances: vec![String::from("lb1")],
            error: None,
            events: 5,
        };
        assert_eq!(
            json(&view),
            "{\"state\":\"watching\",\"endpoint\":\"10.0.0.1:2379\",\"revision\":107,\"age_s\":1,\
             \"instances\":[\"lb1\"],\"error\":null}\n"
        );
        assert!(render(&view).contains("\nhttplb_registry_up 1\n# HELP"));
        view.state = LinkState::Lost;
        view.error = Some(String::from("no leader"));
        assert!(json(&view).starts_with("{\"state\":\"lost\","));
        let text = render(&view);
        assert!(text.contains("httplb_registry_up 0\n") && text.ends_with("_events_total 5\n"));
    }
}
