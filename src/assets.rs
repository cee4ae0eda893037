//! Stage 7: moves finished results into the user's storage.

mod erase;
pub mod fetch;
mod sink;
pub mod store_asset;
pub mod transfer;
pub mod uploader;
