//! What is asked: who wants to do what with which item, from which kind of client.
//!
//! Invariant: a question whose item and action do not belong together cannot be written down.

use crate::{Certificate, ItemHash, Label, Moment, Role, Signer, UserFacts, words::words};

words! {
    /// Where the user works.
    pub Client ("client") {
        /// The installed client, logged in to a server.
        Installed = "installed",
        /// The installed client alone: it has every license and may accept invalid signatures.
        InstalledNoServer = "installed_no_server",
        /// A browser, the REST API or the command line.
        Web = "web",
        /// A task of a job.
        Automation = "automation",
        /// A scheduled update.
        ScheduledUpdate = "scheduled_update",
    }

    /// What kinds of items decisions are about.
    pub ItemType ("type of item") {
        /// A custom visualization.
        VisualizationMod = "visualization_mod",
        /// A package of scripts that triggers start.
        ActionMod = "action_mod",
        /// A configured call of an external system.
        ExternalAction = "external_action",
        /// A script inside an analysis.
        Script = "script",
        /// A data function.
        DataFunction = "data_function",
        /// A custom query of a connection.
        CustomQuery = "custom_query",
        /// The script of a job's task.
        JobScript = "job_script",
    }

    /// What executes a data function.
    pub Engine ("engine") {
        /// TERR in the installed client.
        TerrLocal = "terr_local",
        /// TERR on a node.
        TerrService = "terr_service",
        /// A TERR expression typed into a visualization.
        TerrInline = "terr_inline",
        /// Python in the installed client.
        PythonLocal = "python_local",
        /// Python on a node.
        PythonService = "python_service",
        /// R on a node.
        RService = "r_service",
    }

    /// The language of a script in an analysis.
    pub ScriptLanguage ("script language") {
        /// IronPython.
        IronPython = "ironpython",
        /// JavaScript in a text area.
        JavaScript = "javascript",
    }

    /// The kinds of items that stamps are for.
    pub CodeType ("type of code") {
        /// A script inside an analysis.
        Script = "script",
        /// A data function.
        DataFunction = "data_function",
        /// A custom query.
        CustomQuery = "custom_query",
    }

    /// The signed kinds.
    pub SignedKind ("signed type of item") {
        /// A custom visualization.
        VisualizationMod = "visualization_mod",
        /// A package of scripts that triggers start.
        ActionMod = "action_mod",
        /// A configured call of an external system.
        ExternalAction = "external_action",
    }

    /// What is done with a script, data function or query.
    pub CodeAction ("action") {
        /// Written or changed.
        Create = "create",
        /// Trusted by the user for themselves.
        TrustItem = "trust_item",
        /// Saved to the library with a stamp.
        SaveTrusted = "save_trusted",
        /// Executed.
        Run = "run",
    }

    /// What is done with a signed item.
    pub SignedAction ("action") {
        /// Opened with the analysis that contains it.
        Open = "open",
        /// Added to an analysis.
        Add = "add",
        /// Started.
        Run = "run",
        /// Developed or configured.
        Create = "create",
        /// This version is trusted.
        TrustItem = "trust_item",
        /// Its signer is trusted.
        TrustSigner = "trust_signer",
    }

    /// The account of a signer.
    pub SignerState ("state of a user") {
        /// In use.
        Active = "active",
        /// Kept, but closed: its signatures stay valid.
        Disabled = "disabled",
        /// Gone: its signatures are invalid.
        Deleted = "deleted",
    }
}

/// The question.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Who asks. For the script of a job this is the job's author.
    pub user: &'a UserFacts,
    /// Where they work.
    pub client: Client,
    /// What they want to do with what.
    pub subject: Subject,
    /// When, for entries that expire.
    pub now: Moment,
}

/// An item together with what is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A script, data function or query.
    Code(Code, CodeAction),
    /// The script of a job's task runs, whatever is trusted, if its people may.
    JobScript {
        /// The content, where it is known.
        hash: Option<ItemHash>,
        /// The account that executes the job.
        executing: Box<UserFacts>,
    },
    /// A mod or an external action.
    Signed(Signed, SignedAction),
}

/// A script, data function or query: never signed, trusted by stamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Which of the three.
    pub kind: CodeKind,
    /// The content, where it is known: a question about creating may come before there is any.
    pub hash: Option<ItemHash>,
    /// The library item that it is in, where that is known: under `trust.stamps = same_item` only stamps on it count.
    pub library_item: Option<Label>,
    /// Whether the user has trusted this content for themselves in their installed client.
    pub trusted_by_user: bool,
}

/// The kinds of unsigned code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeKind {
    /// A script inside an analysis.
    Script(ScriptLanguage),
    /// A data function and the engine that would run it.
    DataFunction(Engine),
    /// A custom query.
    CustomQuery,
}

impl CodeKind {
    /// The type, which is the same for all languages and engines.
    pub fn code_type(self) -> CodeType {
        match self {
            Self::Script(_) => CodeType::Script,
            Self::DataFunction(_) => CodeType::DataFunction,
            Self::CustomQuery => CodeType::CustomQuery,
        }
    }
}

/// A mod or an external action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Which of the three.
    pub kind: SignedKind,
    /// The content, where it is known.
    pub hash: Option<ItemHash>,
    /// Its signature, if it has one.
    pub signature: Option<Signature>,
}

impl From<CodeType> for ItemType {
    fn from(code: CodeType) -> Self {
        match code {
            CodeType::Script => Self::Script,
            CodeType::DataFunction => Self::DataFunction,
            CodeType::CustomQuery => Self::CustomQuery,
        }
    }
}

impl SignedKind {
    /// The role in which a signer of such items is trusted.
    pub fn role(self) -> Role {
        match self {
            Self::VisualizationMod | Self::ActionMod => Role::Developer,
            Self::ExternalAction => Role::Configurator,
        }
    }
}

impl From<SignedKind> for ItemType {
    fn from(kind: SignedKind) -> Self {
        match kind {
            SignedKind::VisualizationMod => Self::VisualizationMod,
            SignedKind::ActionMod => Self::ActionMod,
            SignedKind::ExternalAction => Self::ExternalAction,
        }
    }
}

/// What is known of a signature before anything is decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who made it.
    pub source: SignatureSource,
    /// Whether the content differs from what was signed.
    pub tampered: bool,
    /// The certificates that vouch for the signer's, up to the root's: a block of one of them is a block of all that was
    /// signed under it.
    pub authorities: Vec<Certificate>,
}

/// Who made a signature, and the root that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureSource {
    /// The vendor, by a certificate that the product carries.
    Vendor,
    /// A user, by a certificate that a server issued.
    User {
        /// The root.
        root: Label,
        /// The signer.
        user: muster_ids::UserName,
        /// The signer's account as it is now.
        state: SignerState,
        /// The certificate, where one is known: blocks of it count as those of the user do.
        certificate: Option<Certificate>,
        /// When it was signed.
        time: Moment,
    },
    /// A certificate of another authority.
    External {
        /// The root.
        root: Label,
        /// The certificate.
        certificate: Certificate,
        /// When it was signed.
        time: Moment,
    },
}

impl SignatureSource {
    /// Who would be trusted for it; nobody needs to trust the vendor.
    pub fn signer(&self) -> Option<Signer> {
        match self {
            Self::Vendor => None,
            Self::User { user, .. } => Some(Signer::User(user.clone())),
            Self::External { certificate, .. } => Some(Signer::Certificate(certificate.clone())),
        }
    }
}

impl<'a> Question<'a> {
    /// May `user` have the data function with this content, which lies in `library_item`, run on `engine`? This is the
    /// question of a run grant, asked by the control plane and again by the node.
    pub fn run_function(
        user: &'a UserFacts,
        client: Client,
        engine: Engine,
        (hash, library_item): (ItemHash, Option<Label>),
        now: Moment,
    ) -> Self {
        let code = Code {
            kind: CodeKind::DataFunction(engine),
            hash: Some(hash),
            library_item,
            trusted_by_user: false,
        };
        Self {
            user,
            client,
            subject: Subject::Code(code, CodeAction::Run),
            now,
        }
    }
}
