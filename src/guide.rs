//! The pages whose code is tested, one item each.

#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("../docs/loops.md")]
struct Loops;

#[doc = include_str!("../docs/batches.md")]
struct Batches;

#[doc = include_str!("../docs/equipment.md")]
struct Equipment;

#[doc = include_str!("../docs/observing.md")]
struct Observing;

#[doc = include_str!("../docs/compiler-errors.md")]
struct CompilerErrors;

#[doc = include_str!("../docs/guide/first-minutes.md")]
struct GuideFirstMinutes;

#[doc = include_str!("../docs/guide/which.md")]
struct GuideWhich;

#[doc = include_str!("../docs/guide/arrays.md")]
struct GuideArrays;

#[doc = include_str!("../docs/guide/loops.md")]
struct GuideLoops;

#[doc = include_str!("../docs/guide/tasks.md")]
struct GuideTasks;

#[doc = include_str!("../docs/guide/deaths.md")]
struct GuideDeaths;

#[doc = include_str!("../docs/guide/batches.md")]
struct GuideBatches;

#[doc = include_str!("../docs/guide/images.md")]
struct GuideImages;

#[doc = include_str!("../docs/guide/video.md")]
struct GuideVideo;

#[doc = include_str!("../docs/guide/tables.md")]
struct GuideTables;

#[doc = include_str!("../docs/guide/messages.md")]
struct GuideMessages;

#[doc = include_str!("../docs/guide/names.md")]
struct GuideNames;

#[doc = include_str!("../docs/guide/numbers.md")]
struct GuideNumbers;

#[doc = include_str!("../docs/guide/systems.md")]
struct GuideSystems;

#[cfg(feature = "fft")]
#[doc = include_str!("../docs/guide/transforms.md")]
struct GuideTransforms;

#[doc = include_str!("../docs/guide/clusters.md")]
struct GuideClusters;

#[doc = include_str!("../docs/guide/observing.md")]
struct GuideObserving;

#[doc = include_str!("../docs/guide/tuning.md")]
struct GuideTuning;

#[doc = include_str!("../docs/guide/from-python.md")]
struct GuideFromPython;

#[doc = include_str!("../docs/guide/from-rayon.md")]
struct GuideFromRayon;

#[doc = include_str!("../docs/guide/from-mpi.md")]
struct GuideFromMpi;
