use std::borrow::Cow;
use std::fs;
use std::path::Path;

use obsdiff::checkpoint::save::output_bytes;
use obsdiff::checkpoint::shards::INDEX_FILE;
use obsdiff::checkpoint::{
    Checkpoint, OutputFolder, Pipeline, SafetensorsFile, TensorOut, copy_components, save_like, write_atomic,
    write_config, write_safetensors,
};
use obsdiff::{Error, Result};
use serde_json::json;

use crate::common::{MODELS, SHARDED, copy_folder, edit, files_below, model, raw_file};

fn nothing(_: &str) -> Result<Option<Cow<'static, [f32]>>> {
    Ok(None)
}

/// Copies a model as `prune` does, without pruning.
fn rewrite(source: &Path, out: &Path) -> Result<()> {
    let pipeline = Pipeline::open(source)?;
    let weights = pipeline.weights()?;
    let folder = OutputFolder::create(out, &[source], output_bytes(&pipeline, &weights)?, false)?;
    copy_components(&pipeline, folder.path())?;
    let transformer = pipeline.transformer_in(folder.path());
    save_like(&weights, &transformer, nothing)?;
    write_config(&pipeline, &transformer, json!({"version": 1}))?;
    folder.commit()
}

#[test]
fn without_replacements_every_file_is_reproduced_byte_for_byte() {
    for name in MODELS {
        let source = model(name);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        rewrite(&source, &out).unwrap();
        let mut expected = files_below(&source);
        expected.retain(|path, _| !path.starts_with("ref"));
        let mut found = files_below(&out);
        let config = Path::new("transformer/config.json");
        let (before, after) = (expected.remove(config).unwrap(), found.remove(config).unwrap());
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{name}");
        for (path, bytes) in &expected {
            assert!(found[path] == *bytes, "{name}: {} differs", path.display());
        }
        let key = "  \"_obs_diff\": {\n    \"version\": 1\n  },\n";
        let without = String::from_utf8(after).unwrap().replacen(key, "", 1);
        assert_eq!(without.trim_end(), String::from_utf8(before).unwrap().trim_end(), "{name}: config.json");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}: something is left beside the output");
    }
}

#[test]
fn a_transformer_folder_alone_becomes_one() {
    let source = model(SHARDED).join("transformer");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    rewrite(&source, &out).unwrap();
    let (before, after) = (files_below(&source), files_below(&out));
    assert!(before.keys().eq(after.keys()));
    assert!(before.iter().all(|(path, bytes)| path == Path::new("config.json") || after[path] == *bytes));
    Pipeline::open(&out).unwrap().weights().unwrap();
}

#[test]
fn a_tensor_of_no_block_and_any_dtype_is_carried_through() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model");
    copy_folder(&model(SHARDED), &source);
    let header = r#"{"steps":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    fs::write(source.join("transformer/zz.safetensors"), raw_file(header, &[9; 8])).unwrap();
    let index = source.join("transformer").join(INDEX_FILE);
    edit(&index, "\"weight_map\": {", "\"weight_map\": {\n    \"steps\": \"zz.safetensors\",");
    let out = folder.path().join("out");
    rewrite(&source, &out).unwrap();
    let written = Checkpoint::open(out.join("transformer")).unwrap();
    assert_eq!(*written.bytes("steps").unwrap(), [9; 8]);
    assert!(fs::read(out.join("transformer").join(INDEX_FILE)).unwrap() == fs::read(&index).unwrap());
}

#[test]
fn replaced_values_are_rounded_and_the_rest_keeps_its_bytes() {
    let source = Checkpoint::open(model(SHARDED).join("transformer")).unwrap();
    let target = "transformer_blocks.1.ff.net.2.weight";
    let new: Vec<f32> = source.to_f32(target).unwrap().iter().map(|v| v * 1.01 + 1e-4).collect();
    let folder = tempfile::tempdir().unwrap();
    let save = || save_like(&source, folder.path(), |name| Ok((name == target).then_some(Cow::Borrowed(&new[..]))));
    save().unwrap();
    let written = Checkpoint::open(folder.path()).unwrap();
    for name in source.names() {
        assert_eq!(source.info(name), written.info(name), "{name}");
        if name == target {
            let rounded: Vec<f32> = new.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect();
            assert_eq!(written.to_f32(name).unwrap(), rounded);
        } else {
            assert_eq!(source.bytes(name).unwrap(), written.bytes(name).unwrap(), "{name}");
        }
    }
    let first = files_below(folder.path());
    save().unwrap();
    assert!(first == files_below(folder.path()), "a second run writes other bytes");
}

#[test]
fn metadata_becomes_what_diffusers_wants() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"b":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"__metadata__":{"x":"y"}}"#;
    let source = folder.path().join("diffusion_pytorch_model.safetensors");
    fs::write(&source, raw_file(header, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    save_like(&Checkpoint::open(folder.path()).unwrap(), &out, nothing).unwrap();
    let written = SafetensorsFile::open(out.join("diffusion_pytorch_model.safetensors")).unwrap();
    let text = String::from_utf8_lossy(&written.header_bytes()[8..]).into_owned();
    assert!(
        text.starts_with(r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"a""#),
        "{text}"
    );
    assert_eq!(written.header_bytes().len() % 8, 0);
    assert_eq!(*written.bytes("a").unwrap(), [5, 6, 7, 8]);
}

#[test]
fn our_writer_agrees_with_the_safetensors_crate() {
    use safetensors::tensor::TensorView;
    let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let tensors = [
        TensorOut::f32("z", &[2, 3], &values),
        TensorOut::i64("quo\"ted", &[1], &[-7]),
        TensorOut::f64("m", &[], &[0.5]),
        TensorOut::f32("a", &[0, 4], &[]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let metadata = [("format".to_string(), "pt".to_string())];
    write_safetensors(&path, &tensors, &metadata).unwrap();
    let views = tensors.iter().map(|t| (t.name, TensorView::new(t.dtype, t.shape.to_vec(), &t.bytes).unwrap()));
    let expected = safetensors::serialize(views, Some(metadata.into_iter().collect())).unwrap();
    assert!(fs::read(&path).unwrap() == expected);
    let twice = write_safetensors(&path, &[tensors[0].clone(), tensors[0].clone()], &[]).unwrap_err();
    assert!(twice.to_string().contains("twice"), "{twice}");
    let wrong = TensorOut { shape: &[7], ..tensors[0].clone() };
    assert!(write_safetensors(&path, &[wrong], &[]).unwrap_err().to_string().contains("do not fit"));
    assert!(fs::read(&path).unwrap() == expected, "a refused write must not touch the file");
}

#[test]
fn bad_replacements_leave_nothing_behind() {
    let source = model(SHARDED);
    let pipeline = Pipeline::open(&source).unwrap();
    let weights = pipeline.weights().unwrap();
    let target = "transformer_blocks.0.attn.to_q.weight";
    for (values, code) in [(vec![0.0; 3], 3), (vec![f32::NAN; 64 * 64], 4), (vec![3.4e38; 64 * 64], 4)] {
        let parent = tempfile::tempdir().unwrap();
        let out = OutputFolder::create(parent.path().join("out"), &[&source], 0, false).unwrap();
        let result = save_like(&weights, out.path(), |name| Ok((name == target).then(|| Cow::Borrowed(&values[..]))));
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(target), "{error}");
        drop(out);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "{error}");
    }
}

#[test]
fn a_failed_file_disappears() {
    let parent = tempfile::tempdir().unwrap();
    let taken = parent.path().join("latents.safetensors");
    fs::create_dir(&taken).unwrap();
    // A file cannot be renamed to a folder: the last step fails.
    let error = write_safetensors(&taken, &[TensorOut::f32("a", &[1], &[1.0])], &[]).unwrap_err();
    assert!(error.to_string().contains("latents.safetensors"), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "the partial file is left");
}

#[test]
fn an_existing_output_is_refused_before_any_work() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    fs::create_dir(&out).unwrap();
    let error = rewrite(&model(SHARDED), &out).unwrap_err();
    assert!(matches!(error, Error::OutputExists { .. }) && error.exit_code() == 2, "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn overwriting_replaces_models_only_and_keeps_the_old_one_until_the_end() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    copy_folder(&model(SHARDED), &out);
    let old = files_below(&out);
    let start = || OutputFolder::create(&out, &[], 0, true);
    let abandoned = start().unwrap();
    write_atomic(abandoned.path().join("config.json"), b"{}").unwrap();
    assert!(files_below(&out) == old, "untouched while the new one is built");
    drop(abandoned);
    assert!(files_below(&out) == old, "untouched after a failure");
    let finished = start().unwrap();
    write_atomic(finished.path().join("config.json"), b"{}").unwrap();
    finished.commit().unwrap();
    assert_eq!(files_below(&out).into_values().collect::<Vec<_>>(), [b"{}"]);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);

    fs::rename(out.join("config.json"), out.join("diary.txt")).unwrap();
    let error = start().unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("not a model folder"), "{error}");
    fs::remove_file(out.join("diary.txt")).unwrap();
    start().unwrap().commit().unwrap();
}

#[test]
fn an_output_may_not_overlap_its_inputs() {
    let parent = tempfile::tempdir().unwrap();
    let source = parent.path().join("model");
    copy_folder(&model(SHARDED), &source);
    let calibration = source.join("calibration.safetensors");
    fs::write(&calibration, b"x").unwrap();
    let before = files_below(&source);
    let cases: [(&Path, &Path, bool); 4] = [
        (&source, &source, true),
        (&source.join("out"), &source, false),
        (&source, &source.join("transformer"), true),
        (&source, &calibration, true),
    ];
    for (out, input, overwrite) in cases {
        let error = OutputFolder::create(out, &[input], 0, overwrite).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("lie in each other"), "{error}");
    }
    assert!(before == files_below(&source));
}

#[test]
fn too_little_space_is_told_up_front() {
    let parent = tempfile::tempdir().unwrap();
    let error = OutputFolder::create(parent.path().join("out"), &[], u64::MAX, false).unwrap_err();
    assert!(error.exit_code() == 5 && error.to_string().contains("18446744073709551615"), "{error}");
    let error = OutputFolder::create(parent.path().join("new/out"), &[], u64::MAX, false).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn missing_folders_above_the_output_appear_and_go_with_it() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("new/newer/out");
    let start = || OutputFolder::create(&out, &[], 0, false);
    drop(start().unwrap());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);

    let abandoned = start().unwrap();
    fs::write(parent.path().join("new/stranger"), b"x").unwrap();
    drop(abandoned);
    assert!(parent.path().join("new/stranger").is_file() && !parent.path().join("new/newer").exists());

    start().unwrap().commit().unwrap();
    assert_eq!(fs::read_dir(parent.path().join("new/newer")).unwrap().count(), 1);
    let inside = OutputFolder::create(out.join("new/model"), &[&out], 0, false).unwrap_err();
    assert!(inside.to_string().contains("lie in each other"), "{inside}");
    let dots = OutputFolder::create(parent.path().join("no/../model"), &[], 0, false).unwrap_err();
    assert_eq!(dots.exit_code(), 2, "{dots}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_strays_stay_behind() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    // As the Hugging Face cache: snapshots of links to blobs.
    let parent = tempfile::tempdir().unwrap();
    let snapshot = parent.path().join("snapshot");
    fs::create_dir(&snapshot).unwrap();
    for name in ["model_index.json", "scheduler"] {
        symlink(model(SHARDED).join(name), snapshot.join(name)).unwrap();
    }
    fs::create_dir(snapshot.join("transformer")).unwrap();
    for entry in fs::read_dir(model(SHARDED).join("transformer")).unwrap() {
        let path = entry.unwrap().path();
        symlink(&path, snapshot.join("transformer").join(path.file_name().unwrap())).unwrap();
    }
    fs::write(snapshot.join("sd3.5_medium.safetensors"), b"stray").unwrap();
    fs::write(snapshot.join("LICENSE.md"), b"terms").unwrap();
    fs::write(snapshot.join("transformer/diffusion_pytorch_model.fp16.safetensors"), b"stray").unwrap();
    fs::write(snapshot.join("transformer/notes.txt"), b"kept").unwrap();
    let out = parent.path().join("out");
    rewrite(&snapshot, &out).unwrap();
    let found = files_below(&out);
    let has = |name: &str| found.contains_key(Path::new(name));
    assert!(has("LICENSE.md") && has("transformer/notes.txt") && has("scheduler/scheduler_config.json"));
    assert!(!has("sd3.5_medium.safetensors") && !has("transformer/diffusion_pytorch_model.fp16.safetensors"));
    let umask_mode = fs::metadata(snapshot.join("LICENSE.md")).unwrap().permissions().mode();
    for path in found.keys() {
        let metadata = fs::symlink_metadata(out.join(path)).unwrap();
        assert!(metadata.is_file(), "{} is a link", path.display());
        assert_eq!(metadata.permissions().mode(), umask_mode, "{}", path.display());
    }
}

#[cfg(unix)]
#[test]
fn overwriting_through_a_link_replaces_what_it_points_to() {
    let parent = tempfile::tempdir().unwrap();
    let (real, link) = (parent.path().join("real"), parent.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let out = OutputFolder::create(&link, &[], 0, true).unwrap();
    write_atomic(out.path().join("config.json"), b"{}").unwrap();
    out.commit().unwrap();
    assert!(link.is_symlink() && real.join("config.json").is_file());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
}
