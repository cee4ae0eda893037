//! Stage 4: decides who goes next, within the budgets of each provider account; ends what may not be submitted any more.

pub mod dispatcher;
pub mod endings;
pub mod look;
pub mod offers;
pub mod plan;
pub mod unsubmitted;
