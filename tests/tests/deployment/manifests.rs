//! The manifests: what the schemas say, that the configurations in them are accepted, and the promises of `docs/kubernetes.md`.

use std::path::Path;

use sampan_tests::harness::PATIENCE;
use sampan_tests::harness::invoke::{self, programs};
use sampan_tests::harness::process::Program;
use sampan_tests::harness::tls::{Authority, Wanted};
use serde_json::{Value, json};

use crate::image::{self, can_build};
use crate::shipped::{Document, add, documents, named, one, read};

const PATCH: &str = "deploy/inject/component/sidecar-patch.yaml";
const SIDECAR: &str = "deploy/sidecar.yaml";
/// Where the manifests mount the certificates.
const IDENTITY: &str = "/etc/sampan-identity";

#[test]
fn the_schemas_have_nothing_against_them() {
    let dir = tempfile::tempdir().unwrap();
    let documents = documents();
    // The patch alone is no Deployment: it is judged with the application that it is for.
    let mut injected = one(&documents, "deploy/inject/example/app.yaml", "Deployment").clone();
    add(&mut injected, one(&documents, PATCH, "Deployment"));
    let file = dir.path().join("injected.yaml");
    std::fs::write(&file, injected.to_string()).unwrap();
    let injected = read(&[file]);
    let whole = documents.iter().filter(|document| document.file != PATCH);
    let errors: Vec<String> = whole
        .chain(&injected)
        .flat_map(|document| document.errors.iter().map(|error| format!("{}: {error}", document.file)))
        .collect();
    assert!(errors.is_empty(), "\n{}", errors.join("\n"));
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.yaml");
    let wrong = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "image": "a", "restartPolice": "Always"}]}});
    std::fs::write(&file, wrong.to_string()).unwrap();
    let errors = &read(&[file])[0].errors;
    assert!(errors.len() == 2 && errors[0].contains("restartPolice"), "{errors:?}");
}

#[test]
fn both_programs_accept_the_configurations_in_them() {
    if can_build() {
        image::programs();
    }
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(dir.path());
    let mut report = Vec::new();
    let mut count = 0;
    for document in documents().iter().filter(|document| document.kind() == "ConfigMap") {
        let text = document.value["data"]["sampan.yaml"].as_str().unwrap().replace(IDENTITY, &identity);
        count += 1;
        let file = dir.path().join(format!("{count}.yaml"));
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        for program in programs() {
            let strict: &[&str] = if program == Program::Sampan { &["--strict"] } else { &[] };
            let node = ["--service-node", "sidecar~10.0.0.1~a.b~c", "--service-cluster", "shop"];
            let arguments = [&["--mode", "validate", "-c", file], &node[..], strict].concat();
            let outcome = invoke::run(program, dir.path(), &arguments, PATIENCE);
            if outcome.code != Some(0) || !outcome.text.contains(&format!("configuration '{file}' OK")) {
                report.push(format!("{program:?} {}: {:?}\n{}", document.file, outcome.code, outcome.text));
            }
        }
    }
    assert!(count >= 3 && report.is_empty(), "{count}\n{}", report.join("\n"));
}

#[test]
fn what_is_injected_is_what_the_whole_manifest_has() {
    let documents = documents();
    let patch = &one(&documents, PATCH, "Deployment")["spec"]["template"];
    let whole = &one(&documents, SIDECAR, "Deployment")["spec"]["template"];
    for field in ["initContainers", "volumes", "terminationGracePeriodSeconds"] {
        assert_eq!(patch["spec"][field], whole["spec"][field], "{field}");
    }
    assert_eq!(patch["metadata"]["annotations"], whole["metadata"]["annotations"]);
    let configuration = |file| &one(&documents, file, "ConfigMap")["data"];
    assert_eq!(configuration("deploy/inject/component/configmap.yaml"), configuration(SIDECAR));
}

#[test]
fn our_containers_have_no_right_that_they_do_not_need() {
    let all = documents();
    let pods = all.iter().filter(|document| document.kind() == "Deployment");
    let containers: Vec<(&Document, &Value)> = pods
        .flat_map(|pod| {
            let spec = &pod.value["spec"]["template"]["spec"];
            let lists = [&spec["initContainers"], &spec["containers"]];
            lists.into_iter().filter_map(Value::as_array).flatten().map(move |container| (pod, container))
        })
        .filter(|(_, container)| container["image"].as_str().unwrap().starts_with("sampan:"))
        .collect();
    assert!(containers.len() >= 5, "{}", containers.len());
    for (pod, container) in containers {
        let context = &container["securityContext"];
        let init = container["name"] == "sampan-init";
        let added = if init { json!(["NET_ADMIN", "NET_RAW"]) } else { Value::Null };
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{}: {container}", pod.file);
        assert_eq!(context["capabilities"]["add"], added, "{}: {container}", pod.file);
        assert_eq!(context["readOnlyRootFilesystem"], true, "{}: {container}", pod.file);
        assert_eq!(context["allowPrivilegeEscalation"], false, "{}: {container}", pod.file);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{}: {container}", pod.file);
        assert_eq!(context["runAsUser"], if init { 0 } else { 1337 }, "{}: {container}", pod.file);
        assert_eq!(context["runAsNonRoot"], !init, "{}: {container}", pod.file);
        for bound in ["cpu", "memory"] {
            assert!(container["resources"]["limits"][bound].is_string(), "{}: {container}", pod.file);
        }
    }
}

#[test]
fn a_pod_is_given_longer_than_its_proxy_drains() {
    let documents = documents();
    for (file, list) in [("deploy/gateway.yaml", "containers"), (SIDECAR, "initContainers")] {
        let pod = &one(&documents, file, "Deployment")["spec"]["template"]["spec"];
        let proxy = named(&pod[list], "sampan");
        let arguments: Vec<&str> =
            proxy["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let at = arguments.iter().position(|argument| *argument == "--drain-time-s").expect("it drains");
        let drain: u64 = arguments[at + 1].parse().unwrap();
        let containers = pod["containers"].as_array().unwrap();
        let pauses = containers.iter().filter_map(|c| c["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64());
        let pause = pauses.max().expect("there is a pause before the stop");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > pause + drain, "{file}: {grace} s for {pause} s and {drain} s");
    }
}

/// The folder of certificates that a Secret would hold.
fn identity(dir: &Path) -> String {
    let authority = Authority::new("mesh");
    authority.save(dir, "ca");
    authority.issue(
        dir,
        "tls",
        Wanted { uris: &["spiffe://cluster.local/ns/default/sa/shop"], ..Wanted::default() },
    );
    for (from, to) in [("ca.pem", "ca.crt"), ("tls.pem", "tls.crt"), ("tls.key", "tls.key")] {
        std::fs::rename(dir.join(from), dir.join(to)).unwrap();
    }
    dir.to_str().unwrap().to_owned()
}
