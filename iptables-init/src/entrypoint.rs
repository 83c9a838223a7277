//! The entrypoint of the image that Istio injects. Injection gives a container arguments and no command, and has one image for two of them: the
//! init container's begin with `istio-iptables`, those of the others are the agent's. An image without a shell needs a program that tells them
//! apart: `sampan-init entrypoint ARGUMENTS`. Called by `main.rs`.

/// Whose arguments they are.
#[derive(Debug, PartialEq, Eq)]
pub enum Meant {
    /// This program's, with its name first.
    Init(Vec<String>),
    /// Those of Istio's agent, without its name.
    Agent(Vec<String>),
}

/// Istio's agent, as the image has it on its path.
pub const AGENT: &str = "pilot-agent";

/// Tells whom a command line (the program's name first) is for.
pub fn meant(mut arguments: Vec<String>) -> Meant {
    if arguments.get(1).is_none_or(|first| first != "entrypoint") {
        return Meant::Init(arguments);
    }
    if arguments.get(2).is_some_and(|first| first == "istio-iptables") {
        arguments.remove(1);
        return Meant::Init(arguments);
    }
    Meant::Agent(arguments.split_off(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_init_container_is_ours_and_the_rest_the_agent_s() {
        let init = meant(words("sampan-init entrypoint istio-iptables -p 15001"));
        assert_eq!(init, Meant::Init(words("sampan-init istio-iptables -p 15001")));
        let agent = meant(words("sampan-init entrypoint proxy sidecar"));
        assert_eq!(agent, Meant::Agent(words("proxy sidecar")));
        assert_eq!(meant(words("sampan-init entrypoint")), Meant::Agent(Vec::new()));
    }

    #[test]
    fn without_the_word_nothing_is_changed() {
        for line in ["sampan-init", "sampan-init check -p 1", "sampan-init istio-iptables entrypoint"] {
            assert_eq!(meant(words(line)), Meant::Init(words(line)));
        }
    }
}
