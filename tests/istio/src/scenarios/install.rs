//! Ways in: the injection template that gives single pods Sampan and leaves the rest as it is, which makes a mesh of mixed proxies while the others
//! have Envoy.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scenario;
use crate::process::until;
use crate::world::{World, call, deployment, get};

pub const ALL: &[Scenario] = &[Scenario { name: "injection_template", run: injection_template }];

fn injection_template(world: &World) -> Result<Value> {
    let template = [("inject.istio.io/templates", "sidecar,sampan")];
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: guest, namespace: shop}\nspec:\n  selector: {app: guest}\n  \
                   ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 91, targetPort: 9000}]\n";
    let strict = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\n\
                  spec: {mtls: {mode: STRICT}}\n";
    world.apply(&format!("{}{service}{strict}", deployment("shop", "guest", "v1", &template)))?;
    let pod = until("the pod", Duration::from_mins(1), || world.pod("guest"))?;
    for container in pod["spec"]["initContainers"].as_array().into_iter().flatten() {
        ensure!(container["image"] == "localhost/proxyv2:sampan", "{container}");
    }
    let server = world.admin("guest", "server_info")?;
    ensure!(server.contains("LIVE"), "{server}");
    world.expect("to it", &get("http://guest.shop/"), |seen| seen.server() == "guest-v1")?;
    world.expect("to it by TCP", &call("tcp", "guest.shop:91").with("body", "a"), |seen| {
        seen.body == "guest-v1: a\n"
    })?;
    let kinds = [
        get("http://web.shop/"),
        call("http2", "http://web.shop:81/"),
        call("tcp", "web.shop:91").with("body", "a"),
    ];
    for seen in world.calls("guest", &kinds)? {
        ensure!(seen.error.is_empty() && (seen.status == 200 || seen.body.is_string()), "{seen:?}");
    }
    Ok(Value::Null)
}
