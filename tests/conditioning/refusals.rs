//! What cannot be encoded is refused in a sentence, and nothing is written.

use std::fs;

use crate::support::{copy_folder, data, models, names_in, obsdiff, text};

/// Runs `sample` on a model with a prompts file of this name and content; it must be refused.
#[track_caller]
fn refuses(model: &std::path::Path, (name, content): (&str, &[u8]), more: &[&str], code: i32, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (prompts, output) = (folder.path().join(name), folder.path().join("out"));
    fs::write(&prompts, content).unwrap();
    let cache = folder.path().join("cache");
    let own = ["sample", text(model), "--prompts", text(&prompts), "-o", text(&output), "--embeddings-cache"];
    obsdiff(&[&own[..], &[text(&cache)], more].concat()).refused(code, parts);
    let names = names_in(folder.path());
    assert!(!names.contains(&"out".to_string()), "{names:?}");
}

const GOOD: (&str, &[u8]) = ("prompts.txt", b"the digit one\nthe digit two\n");

#[test]
fn faults_of_the_prompts_file_are_named_with_their_line() {
    let model = models("sd3_digits/pipeline");
    let faults: [(&str, &[u8], &[&str]); 5] = [
        ("prompts.txt", b"\n \n", &["prompts.txt", "holds no prompts"]),
        ("prompts.txt", b"one\ntw\xff\n", &["prompts.txt", "line 2 is not UTF-8"]),
        ("prompts.tsv", b"id\turl\n1\thttp://x\n", &["prompts.tsv", "line 1 has no column `caption`"]),
        ("prompts.jsonl", b"\"one\"\n{\"prompt\": \"two\"\n", &["prompts.jsonl", "line 2 is not valid JSON"]),
        ("prompts.csv", b"caption\none\n", &["prompts.csv", "found .csv"]),
    ];
    for (name, content, parts) in faults {
        refuses(&model, (name, content), &[], 3, parts);
    }
    let folder = tempfile::tempdir().unwrap();
    let (absent, output) = (folder.path().join("absent.txt"), folder.path().join("out"));
    obsdiff(&["sample", text(&model), "--prompts", text(&absent), "-o", text(&output), "--embeddings-cache=none"])
        .refused(3, &["absent.txt does not exist", "as the prompts"]);
}

#[test]
fn flags_that_cannot_be_followed_are_refused() {
    let (digits, flux) = (models("sd3_digits/pipeline"), data("pipelines/flux_dev/pipeline"));
    refuses(&digits, GOOD, &["--num-samples=3"], 2, &["asks for 3 prompts and the file holds 2"]);
    refuses(&digits, GOOD, &["--num-samples=0"], 2, &["expected at least 1"]);
    refuses(&digits, GOOD, &["--max-sequence-length=513"], 2, &["513", "1 to 512"]);
    refuses(&digits, GOOD, &["--clip-skip=9"], 2, &["clip skip 9"]);
    refuses(&digits, GOOD, &["--negative-prompt=x", "--guidance-scale=1"], 2, &["--negative-prompt", "guidance"]);
    refuses(&flux, GOOD, &["--negative-prompt=x"], 2, &["--negative-prompt", "FLUX"]);
    refuses(&flux, GOOD, &["--clip-skip=1"], 2, &["--clip-skip", "FLUX"]);
    refuses(&digits, GOOD, &["--conditioning=x"], 2, &["cannot be used with"]);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    obsdiff(&["sample", text(&digits), "-o", text(&output)]).refused(2, &["--conditioning"]);
    obsdiff(&["sample", text(&digits), "-o", text(&output), "--conditioning=x", "--num-samples=2"])
        .refused(2, &["--prompts"]);
}

#[test]
fn a_model_without_its_encoders_is_told_what_to_pass() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let alone = data("pipelines/sd3_medium/pipeline/transformer");
    refuses(&alone, GOOD, &[], 3, &["model_index.json", "transformer alone", "a file of embeddings"]);
    for (part, file) in [
        ("text_encoder", ""),
        ("tokenizer_2", ""),
        ("tokenizer", "vocab.json"),
        ("tokenizer_2", "merges.txt"),
        ("text_encoder_2", "model.safetensors"),
        ("text_encoder", "config.json"),
    ] {
        let _ = fs::remove_dir_all(&model);
        copy_folder(&models("sd3_digits/pipeline"), &model);
        let path = model.join(part).join(file);
        match file {
            "" => fs::remove_dir_all(&path).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        refuses(&model, GOOD, &[], 3, &[part, file, "does not exist"]);
    }
}

#[test]
fn broken_tokenizers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let faults: [(&str, &[u8], &[&str]); 6] = [
        ("tokenizer/vocab.json", b"[]", &["vocab.json", "token ids"]),
        ("tokenizer/vocab.json", b"{\"a\": 0}", &["vocab.json", "<|startoftext|>"]),
        ("tokenizer/merges.txt", b"#version\na\n", &["merges.txt", "line 2"]),
        ("tokenizer_3/spiece.model", b"\x0a\xff", &["spiece.model", "no sentencepiece model"]),
        ("tokenizer_3/tokenizer_config.json", b"{", &["tokenizer_config.json", "not valid JSON"]),
        ("tokenizer_3/tokenizer_config.json", b"{\"padding_side\": \"left\"}", &["padding_side", "left"]),
    ];
    for (file, content, parts) in faults {
        let _ = fs::remove_dir_all(&model);
        copy_folder(&data("pipelines/sd3_medium/pipeline"), &model);
        fs::write(model.join(file), content).unwrap();
        // The vocabulary is checked against the configuration, so the one with a token alone keeps its special ones.
        if content == b"{\"a\": 0}" {
            fs::remove_file(model.join("tokenizer/tokenizer_config.json")).unwrap();
        }
        refuses(&model, GOOD, &["--height=64", "--width=96"], 3, parts);
    }
}
