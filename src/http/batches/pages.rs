//! Pages of a batch's tasks and of what has ended: rows, their files and where those are reached, as many as are shown.

use crate::{
    domain::{
        batch::Batch,
        id::{BatchId, GenerationId, ProjectId},
        record::Generation,
    },
    http::{
        Api,
        batches::{
            dto::{ResultLine, TaskView},
            query::Query,
            view,
        },
        generations::look,
        problem::Problem,
        view::Places,
    },
    store::{Loaded, Reads, StoreError},
};

/// A page of tasks with the cursor behind it.
#[derive(Debug, Default)]
pub struct Tasks {
    /// In the order of the requests.
    pub tasks: Vec<TaskView>,
    /// None at the end.
    pub next: Option<String>,
}

/// What has ended, with its cursors.
#[derive(Debug, Default)]
pub struct Ended {
    /// In the order of the ends.
    pub lines: Vec<ResultLine>,
    /// The number of the last one.
    pub last: Option<u32>,
    /// Whether more have ended.
    pub more: bool,
}

/// The name of a batch's list of tasks, to which its cursors belong.
#[must_use]
pub fn tasks_of(id: BatchId) -> String {
    format!("tasks {id} ")
}

/// The name of a batch's list of results.
#[must_use]
pub fn results_of(id: BatchId) -> String {
    format!("results {id} ")
}

/// A page of tasks.
///
/// # Errors
/// `SERVICE_UNAVAILABLE` when the database or the storage does not answer.
pub async fn tasks(api: &Api, batch: &Batch, query: &Query, limit: u64) -> Result<Tasks, Problem> {
    let (id, categories, after) = (batch.id, query.categories.clone(), query.after_number());
    let read = async move |reads: Reads| {
        // One more than is shown tells whether there is more.
        let mut rows = reads.lines(id, &categories, after, limit.saturating_add(1)).await?;
        let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let loaded = loaded(&reads, &rows).await?;
        Ok((rows, loaded, more))
    };
    let (rows, loaded, more, places) = with_places(api, read).await?;
    let last = rows.last().and_then(|row| row.batch.as_ref()).filter(|_| more).map(|place| place.index);
    let next = last.map(|index| query.cursor(index.into(), batch.project, &tasks_of(id)));
    let view = |row: &Generation| view::task(row, find(&loaded, row.id), &places);
    Ok(Tasks { tasks: rows.iter().map(view).collect(), next })
}

/// What ended behind the number `after`, at most `limit`.
///
/// # Errors
/// As [`tasks`].
pub async fn ended(api: &Api, (id, project): (BatchId, ProjectId), after: u32, limit: u64) -> Result<Ended, Problem> {
    let read = async move |reads: Reads| {
        let mut rows = reads.ended_lines(id, after, limit.saturating_add(1)).await?;
        let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let (numbers, rows): (Vec<u32>, Vec<Generation>) = rows.into_iter().unzip();
        let loaded = loaded(&reads, &rows).await?;
        Ok((numbers.into_iter().zip(rows).collect::<Vec<_>>(), loaded, more))
    };
    let (rows, loaded, more, places) = with_places(api, read).await?;
    let cursors = Query::default();
    let line = |(number, row): &(u32, Generation)| ResultLine {
        task: view::task(row, find(&loaded, row.id), &places),
        cursor: cursors.cursor((*number).into(), project, &results_of(id)),
    };
    Ok(Ended { last: rows.last().map(|(number, _)| *number), lines: rows.iter().map(line).collect(), more })
}

/// Of rows that have ended: everything that is shown of them. Others show nothing beyond the row.
async fn loaded(reads: &Reads, rows: &[Generation]) -> Result<Vec<Loaded>, StoreError> {
    let ids: Vec<GenerationId> = rows.iter().filter(|row| row.state().terminal()).map(|row| row.id).collect();
    if ids.is_empty() { Ok(Vec::new()) } else { reads.loads(&ids).await }
}

fn find(loaded: &[Loaded], id: GenerationId) -> Option<&Loaded> {
    loaded.iter().find(|loaded| loaded.generation.id == id)
}

/// Reads on the socket runtime, then finds out where the files are reached.
async fn with_places<T, F>(
    api: &Api,
    read: impl FnOnce(Reads) -> F + Send + 'static,
) -> Result<(T, Vec<Loaded>, bool, Places), Problem>
where
    T: Send + 'static,
    F: Future<Output = Result<(T, Vec<Loaded>, bool), StoreError>> + Send + 'static,
{
    let (reads, storage, base) = (api.reads.clone(), api.storage.clone(), api.base_url().to_owned());
    let until = look::lapses(api).map(|span| api.clock.now().plus(span));
    api.hop(async move {
        let (rows, loaded, more) = read(reads).await?;
        let mut places = Places::new();
        for one in &loaded {
            places.extend(look::places(&storage, one, &base, until).await?);
        }
        Ok::<_, Problem>((rows, loaded, more, places))
    })
    .await
}
