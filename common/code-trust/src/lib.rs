//! What code is trusted: the facts and entries that decide, the one decision, and the policy test.
//!
//! Control plane, node and policy test answer the same question with the same function, [`decide`], from the
//! same types: [`UserFacts`] says who asks (the only part of the user directory that a node ever sees, carried
//! by the run grant), [`TrustState`] what is trusted, [`Settings`] how strict the place is.
//!
//! Invariant: nothing here reads a clock, a file or a socket; equal arguments give equal verdicts everywhere.

#![forbid(unsafe_code)]

mod analysis;
mod decide;
mod decision;
mod entry;
mod function;
mod groups;
mod item;
mod moment;
mod package;
mod policy_test;
mod question;
mod run_policy;
mod setting;
mod signature;
mod state;
mod text;
mod verdict;
mod version;
mod words;

pub use analysis::{Analysis, AnalysisError, AnalysisPart, PartContent, PartKind};
pub use decide::decide;
pub use decision::{Decider, Decision, GroupPath, Person, Reason, SignerRef, Trusted, TrustedBy};
pub use entry::{
    Authority, Block, Blocking, Certificate, Entry, EntryError, Gone, ItemRef, Principal, Revocation, Role,
    SignedRef, Signer, Stamp, Target, Tombstone, TrustEntry,
};
pub use function::{DataType, FunctionContent, Language, Parameter, ParameterKind};
pub use groups::{
    CUSTOM_QUERY_AUTHOR, EVERYONE, Feature, Group, GroupGraph, Memberships, SCRIPT_AUTHOR, SYSTEM_GROUPS,
    UserFacts,
};
pub use item::{
    ArchiveError, CODE_FILE, Capability, CodeLanguage, CodeManifest, CodeParameter, Item, ItemError,
    ItemKind, ItemPath, MOD_MANIFEST, MOD_SIGNATURE, MOST_ARCHIVE, MOST_FILES, MOST_MANIFEST, ModArchive,
    ModManifest, ModScript, PathError,
};
pub use moment::{Moment, MomentError};
pub use package::packages_of_run;
pub use policy_test::{PolicyError, Report, run as run_policy_test};
pub use question::{
    Client, Code, CodeAction, CodeKind, CodeType, Engine, ItemType, Question, ScriptLanguage, Signature,
    SignatureSource, Signed, SignedAction, SignedKind, SignerState, Subject,
};
pub use run_policy::{
    Destination, HostPath, NetworkClass, PolicyError as RunPolicyError, PolicyLimits, ProgramList, RunPolicy,
};
pub use setting::{
    Effective, Origin, Place, Scope, Setting, SettingError, SettingName, Settings, StampsCount, WhenWithdrawn,
};
pub use signature::{
    BundleError, Checked, CodeRoot, FORMER_ROOT, INTERNAL_ROOT, ItemStatement, MOST_BUNDLE, SignatureBundle,
    SignatureProblem, SignatureStatus, TimeStatement,
};
pub use state::{Change, StateError, TrustState, check_requires};
pub use text::{ItemHash, Label, Serial, TextError};
pub use verdict::{DenyReason, Mode, Outcome, PromptOption, Verdict, stricter};
pub use version::{Bump, Known, Line, StateVersion, VersionError};
pub use words::UnknownWord;
