//! The closed lists behind labels.

/// Declares an enum whose variants are values of a label.
macro_rules! label {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident { $( $(#[doc = $vdoc:literal])+ $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $vdoc])+ $variant ),+ }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the value as it stands in the label.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }
    };
}

label! {
    /// How a message was finished: the label `outcome` of `postroom_messages_total`.
    pub enum Ending {
        /// It is in the dead-letter topic, acknowledged.
        DeadLettered = "dead_lettered",
        /// It is stored durably for later.
        Deferred = "deferred",
        /// Its effects were there already.
        Duplicate = "duplicate",
        /// It was given back unfinished: the next owner takes it.
        GivenBack = "given_back",
        /// Its effects are done.
        Ok = "ok",
        /// A rule passed over it.
        Skipped = "skipped",
    }
}

label! {
    /// How a request to the schema registry ended: the label `outcome` of `postroom_schema_registry_requests_total`.
    pub enum RegistryAnswer {
        /// It did not answer, or not as a registry does.
        Away = "away",
        /// It says that there is no such thing.
        NotFound = "not_found",
        /// It did as it was asked.
        Ok = "ok",
        /// It does not take the schema.
        Refused = "refused",
        /// It does not let us.
        Unauthorised = "unauthorised",
    }
}

label! {
    /// Why a record is tried again.
    pub enum RetryReason {
        /// The handler returned an error.
        Error = "error",
        /// A dependency is away.
        Outage = "outage",
        /// The handler's deadline passed.
        TimedOut = "timed_out",
    }
}

label! {
    /// What a rebalance did.
    pub enum RebalanceKind {
        /// Partitions came.
        Assign = "assign",
        /// Partitions were gone before they could be given back.
        Lost = "lost",
        /// Partitions were given back.
        Revoke = "revoke",
    }
}

label! {
    /// What the broker said of a commit.
    pub enum CommitOutcome {
        /// Refused or not answered: the next commit repeats it.
        Failed = "failed",
        /// Taken.
        Ok = "ok",
    }
}

label! {
    /// Why the metadata of a commit was not used.
    pub enum MetadataFault {
        /// Ours, but its checksum does not fit.
        Damaged = "damaged",
        /// Written by another program.
        Foreign = "foreign",
    }
}
