//! The documented commands, in the order of their documentation.

/// A documented command.
pub(super) struct Documented {
    /// Its name.
    pub(super) name: &'static str,
    /// What does the same in this version, after `muster`.
    pub(super) instead: Option<&'static str>,
    /// Whether it works under its documented name.
    pub(super) state: State,
}

/// What a documented command is like in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not under its own name.
    NotYet,
    /// As documented, but for this.
    Partly(&'static str),
}

impl State {
    /// As it is listed.
    pub(super) fn text(self) -> String {
        match self {
            Self::NotYet => "not yet".to_owned(),
            Self::Partly(missing) => format!("partly ({missing})"),
        }
    }
}

/// The options that all commands with a database had.
const COMMON: &str = "-b, -k and -t are refused with what to do";

const fn only(name: &'static str) -> Documented {
    Documented {
        name,
        instead: None,
        state: State::NotYet,
    }
}

const fn like(name: &'static str, instead: &'static str) -> Documented {
    Documented {
        name,
        instead: Some(instead),
        state: State::NotYet,
    }
}

const fn partly(name: &'static str, instead: &'static str, missing: &'static str) -> Documented {
    Documented {
        name,
        instead: Some(instead),
        state: State::Partly(missing),
    }
}

const fn works(name: &'static str) -> Documented {
    Documented {
        name,
        instead: None,
        state: State::Partly(COMMON),
    }
}

/// All of them.
pub(super) const COMMANDS: &[Documented] = &[
    // Collective, nodes, certificates, sites.
    only("bootstrap"),
    partly("list-nodes", "node list", COMMON),
    partly("untrust-node", "node untrust", COMMON),
    partly("delete-node", "node delete", COMMON),
    partly("list-certificates", "cert list", COMMON),
    partly("reset-trust", "cert reset-trust", COMMON),
    like("list-addresses", "node show"),
    only("set-addresses"),
    like("create-site", "site create"),
    only("update-site"),
    like("delete-site", "site delete"),
    like("list-sites", "site list"),
    like("set-site", "node set --site"),
    only("set-public-address"),
    only("list-online-servers"),
    only("config-cluster"),
    only("config-external-ignite-process"),
    only("check-prerequisites"),
    // Services and their configuration.
    only("list-services"),
    only("list-service-instances"),
    only("list-service-configs"),
    only("list-active-service-configs"),
    only("export-service-config"),
    only("import-service-config"),
    only("set-service-config"),
    only("set-server-service-config"),
    only("delete-service-config"),
    // Routing, scheduling, deployment.
    only("export-rules"),
    only("import-rules"),
    only("copy-rules-to-site"),
    only("create-deployment-area"),
    only("update-deployment"),
    only("show-deployment"),
    only("export-deployment-area"),
    // Configuration, logging, troubleshooting, monitoring.
    only("run"),
    only("export-config"),
    only("import-config"),
    only("list-configs"),
    only("set-config-prop"),
    only("set-config-list-prop"),
    only("set-config-map-prop"),
    only("create-default-config"),
    only("list-logging"),
    only("set-logging"),
    only("download-troubleshooting-bundle"),
    only("config-action-logger"),
    only("config-action-log-web-service"),
    only("config-action-log-database-logger"),
    only("create-actionlogdb"),
    only("config-jmx"),
    only("create-jmx-user"),
    only("delete-jmx-user"),
    only("list-jmx-users"),
    only("deployment-report"),
    only("graceful-shutdown"),
    // Clients of the API.
    only("register-api-client"),
    only("list-oauth2-clients"),
    only("show-oauth2-client"),
    only("delete-oauth2-client"),
    only("issue-access-token"),
    only("revoke-token"),
    // Code trust.
    partly(
        "add-code-trust",
        "trust add",
        "--type must agree with the role and does not narrow it; -b, -k and -t are refused with what to do",
    ),
    partly("remove-code-trust", "trust remove", COMMON),
    partly("block-code-trust", "trust block", COMMON),
    partly(
        "revoke-code-signing-certificate",
        "trust revoke",
        "-b, -k and -t are refused with what to do; days begin in UTC",
    ),
    works("list-code-signing-certificates"),
    works("export-code-signing-root-certificate"),
    works("import-code-signing-certificate"),
    partly(
        "show-code-trust",
        "trust list",
        "the folder is made where the command runs; -b, -k and -t are refused with what to do",
    ),
    partly(
        "list-code-entities",
        "trust list",
        "-b, -k and -t are refused with what to do",
    ),
    works("list-code-signing-root-certificates"),
    works("remove-code-signing-root-certificate"),
    works("reset-code-trust"),
    partly("re-sign-mod", "trust sign", COMMON),
    // Trust in scripts.
    partly("find-analysis-scripts", "library find-scripts", COMMON),
    partly(
        "trust",
        "library trust",
        "by an author of that kind; -b, -k and -t are refused with what to do",
    ),
    partly("untrust", "library untrust", COMMON),
    // Licenses and groups.
    partly("set-license", "license grant", COMMON),
    partly("remove-license", "license revoke", COMMON),
    partly("list-licenses", "license list", COMMON),
    works("list-obsolete-licenses"),
    works("delete-obsolete-licenses"),
    partly("add-member", "group add-member", COMMON),
    partly("remove-member", "group remove-member", COMMON),
    works("copy-group-membership"),
    partly("list-groups", "group list", COMMON),
    partly(
        "export-groups",
        "group list",
        "-g, -b, -k and -t are refused with what to do",
    ),
    partly(
        "import-groups",
        "group create",
        "groups of the domain SPOTFIRE, without a display name and an address of their own; -g, -b, -k and -t are refused with what to do",
    ),
    only("delete-disconnected-groups"),
    // User directory.
    only("config-userdir"),
    only("list-userdir-config"),
    only("list-ldap-userdir-config"),
    only("list-windows-userdir-config"),
    only("config-ldap-userdir"),
    only("config-windows-userdir"),
    only("switch-domain-name-style"),
    // LDAP configurations.
    only("create-ldap-config"),
    only("update-ldap-config"),
    only("list-ldap-config"),
    only("remove-ldap-config"),
    only("config-ldap-group-sync"),
    // Authentication.
    only("config-auth"),
    only("config-username-password-database-auth"),
    only("show-username-password-database-auth"),
    only("config-basic-database-auth"),
    only("show-basic-database-auth"),
    only("config-username-password-ldap-auth"),
    only("show-username-password-ldap-auth"),
    only("config-basic-ldap-auth"),
    only("show-basic-ldap-auth"),
    only("config-username-password-windows-auth"),
    only("show-username-password-windows-auth"),
    only("config-basic-windows-auth"),
    only("show-basic-windows-auth"),
    only("config-ntlm-auth"),
    only("list-ntlm-auth"),
    only("config-kerberos-auth"),
    only("config-client-cert-auth"),
    only("config-two-factor-auth"),
    only("config-anonymous-auth"),
    only("config-external-auth"),
    only("config-custom-web-auth"),
    only("config-auth-filter"),
    only("config-post-auth-filter"),
    only("list-post-auth-filter"),
    only("config-oidc"),
    only("update-oidc-provider"),
    only("register-oidc-client"),
    only("config-persistent-sessions"),
    only("invalidate-persistent-sessions"),
    only("list-auth-config"),
    only("config-login-dialog"),
    // Users.
    like("create-user", "user create"),
    partly("enable-user", "user enable", COMMON),
    partly("delete-user", "user delete", COMMON),
    like("set-user-password", "user set-password"),
    like("promote-admin", "group add-member Administrator"),
    like("demote-admin", "group remove-member Administrator"),
    like("list-admins", "group show Administrator"),
    like("list-users", "user list"),
    only("export-users"),
    only("import-users"),
    partly("delete-disabled-users", "user delete-disabled", COMMON),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_command_is_listed_once() {
        let names: BTreeSet<_> = COMMANDS.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
    }

    #[test]
    fn what_is_recommended_instead_exists() {
        for instead in COMMANDS.iter().filter_map(|command| command.instead) {
            let mut command = Cli::command();
            for word in instead.split(' ').take_while(|word| !word.starts_with("--")) {
                if command.get_subcommands().next().is_none() {
                    break;
                }
                let found = command.find_subcommand(word);
                command = found
                    .unwrap_or_else(|| panic!("muster {instead}: there is no {word}"))
                    .clone();
            }
        }
    }
}
