//! A pod's volumes, as folders of the machine.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::environment::field;
use super::{Node, list, text};
use crate::process::until;

/// Makes all of them below a folder.
pub fn make(node: &Node, pod: &Value, dir: &Path) -> Result<()> {
    for volume in list(&pod["spec"], "volumes") {
        let path = dir.join(text(volume, "/name"));
        std::fs::create_dir_all(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        fill(node, pod, volume, &path).with_context(|| format!("volume {}", text(volume, "/name")))?;
    }
    Ok(())
}

/// `--volume` options for a container's mounts.
pub fn mounts(container: &Value, dir: &Path) -> Vec<String> {
    let mount = |mount: &Value| {
        let from: PathBuf = dir.join(text(mount, "/name")).join(text(mount, "/subPath"));
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        format!("--volume={}:{}:{mode}", from.display(), text(mount, "/mountPath"))
    };
    list(container, "volumeMounts").map(mount).collect()
}

/// One volume, or one source of a projected one: the two have the same shape.
fn fill(node: &Node, pod: &Value, source: &Value, path: &Path) -> Result<()> {
    let Some((kind, given)) = source.as_object().into_iter().flatten().find(|(kind, _)| *kind != "name")
    else {
        return Ok(());
    };
    match kind.as_str() {
        "emptyDir" => {}
        "projected" => {
            list(given, "sources").try_for_each(|source| fill(node, pod, source, path))?;
        }
        "configMap" | "secret" => copy(node, pod, kind, given, path)?,
        "downwardAPI" => {
            for item in list(given, "items") {
                let value = field(pod, &text(item, "/fieldRef/fieldPath"));
                std::fs::write(path.join(text(item, "/path")), value)?;
            }
        }
        "serviceAccountToken" => std::fs::write(path.join(text(given, "/path")), token(node, pod, given)?)?,
        other => bail!("volumes of the kind {other} are not known here"),
    }
    Ok(())
}

/// The files of a configuration map. istiod writes some only when it sees a namespace.
fn copy(node: &Node, pod: &Value, kind: &str, given: &Value, path: &Path) -> Result<()> {
    let name = given["name"].as_str().or(given["secretName"].as_str()).unwrap_or_default();
    let namespace = text(pod, "/metadata/namespace");
    let at = format!("/api/v1/namespaces/{namespace}/{}s/{name}", kind.to_lowercase());
    let patience = Duration::from_secs(if given["optional"] == true { 0 } else { 30 });
    let found = match until(name, patience, || node.kubernetes.get(&at)) {
        Err(_) if given["optional"] == true => return Ok(()),
        found => found?,
    };
    for (key, value) in found["data"].as_object().into_iter().flatten() {
        std::fs::write(path.join(key), value.as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// A token of the pod's account, for the audience asked for.
fn token(node: &Node, pod: &Value, given: &Value) -> Result<String> {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let account = Some(text(pod, "/spec/serviceAccountName")).filter(|name| !name.is_empty());
    let account = account.unwrap_or_else(|| "default".to_owned());
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": pod["metadata"]["uid"]});
    let request = json!({"spec": {"audiences": [given["audience"]], "boundObjectRef": bound,
        "expirationSeconds": given["expirationSeconds"].as_u64().unwrap_or(3600)}});
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    // The controller makes the account of a new namespace.
    let answer = until("a token", Duration::from_secs(20), || node.kubernetes.post(&path, &request))?;
    Ok(text(&answer, "/status/token"))
}
