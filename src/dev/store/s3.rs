//! S3's operations on [`Objects`]: what the s3s crate makes of a request goes in, what it makes an
//! answer of comes out. Knows no HTTP but headers.

use super::{
    Store,
    http::{PayloadHash, Signed, Trailers},
    objects::{Condition, Draft, Meta, Objects, Opened, Problem, Query},
};
use crate::dev::exchange::Stored;
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use s3s::{
    Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    checksum::ChecksumHasher,
    crypto::Checksum as _,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, Checksum, CommonPrefix,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyObjectInput,
        CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, CreateBucketInput,
        CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
        DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput,
        DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, EncodingType,
        GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput,
        HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
        ListBucketsOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsInput,
        ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput,
        ListPartsOutput, MetadataDirective, MultipartUpload, Object, ObjectStorageClass, Owner,
        Part, PutObjectInput, PutObjectOutput, Range, StreamingBlob, Timestamp,
        UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
};
use std::{
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// Objects up to this size are read at once; of larger ones, this much at a time.
const PIECE: usize = 256 * 1024;
/// `x-amz-meta-*`, names and values. Source: the S3 User Guide, "Working with object metadata".
const MAX_USER_METADATA: usize = 2048;
/// S3's own, and what it takes for too many.
const MAX_KEYS: i32 = 1000;
/// The headers that an object gives back as it got them.
const KEPT: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];
/// What S3 says of an object that was put without a type.
const NO_TYPE: &str = "binary/octet-stream";
/// The one owner of everything here: some clients want to see one.
const OWNER: &str = "routeto";

impl From<Problem> for S3Error {
    fn from(problem: Problem) -> Self {
        let (code, words) = match problem {
            Problem::NoSuchBucket => {
                (S3ErrorCode::NoSuchBucket, "The specified bucket does not exist")
            }
            Problem::BucketExists => (
                S3ErrorCode::BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it.",
            ),
            Problem::BucketNotEmpty => {
                (S3ErrorCode::BucketNotEmpty, "The bucket you tried to delete is not empty")
            }
            Problem::NoSuchKey => (S3ErrorCode::NoSuchKey, "The specified key does not exist."),
            Problem::NoSuchUpload => (
                S3ErrorCode::NoSuchUpload,
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
            ),
            Problem::InvalidPart => (
                S3ErrorCode::InvalidPart,
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
            ),
            Problem::InvalidPartOrder => (
                S3ErrorCode::InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ),
            Problem::PartTooSmall => (
                S3ErrorCode::EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed object size.",
            ),
            Problem::Precondition => (
                S3ErrorCode::PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold",
            ),
            Problem::Disk(error) => {
                return S3Error::with_message(
                    S3ErrorCode::InternalError,
                    format!("The store can't do it: {error}"),
                );
            }
        };
        S3Error::with_message(code, words)
    }
}

fn error(code: S3ErrorCode, words: &'static str) -> S3Error {
    S3Error::with_message(code, words)
}

fn timestamp(millis: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(millis))
}

fn etag(meta: &Meta) -> Option<ETag> {
    Some(ETag::Strong(meta.etag.clone()))
}

fn long(number: u64) -> Option<i64> {
    i64::try_from(number).ok()
}

/// Work on the disk that may take longer than a PUT does.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> S3Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done
        .map_err(|error| S3Error::with_message(S3ErrorCode::InternalError, error.to_string()))??)
}

/// What a body must add up to, as its headers have it.
struct Expected {
    md5: Option<String>,
    sha256: Option<[u8; 32]>,
    /// By algorithm, base64.
    checksums: Vec<(&'static str, String)>,
    trailers: Option<Trailers>,
    hasher: ChecksumHasher,
    payload: Option<s3s::crypto::Sha256>,
}

const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

impl Expected {
    fn new<T>(request: &S3Request<T>) -> Self {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let trailers = request.extensions.get::<Trailers>().cloned();
        let announced = header("x-amz-trailer").unwrap_or_default();
        let mut hasher = ChecksumHasher::default();
        let mut checksums = Vec::new();
        for algorithm in ALGORITHMS {
            let name = format!("x-amz-checksum-{algorithm}");
            let given = header(&name).map(str::to_owned);
            let follows =
                announced.split(',').any(|trailer| trailer.trim().eq_ignore_ascii_case(&name));
            // An object that is copied or whose parts carry sums of their own is asked for one by
            // its name alone; a PUT always sends it.
            if given.is_none() && !follows {
                continue;
            }
            match algorithm {
                "crc32" => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
                "crc32c" => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
                "crc64nvme" => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
                "sha1" => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
                _ => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
            }
            if let Some(given) = given {
                checksums.push((algorithm, given));
            }
        }
        let sha256 = request.extensions.get::<PayloadHash>().map(|hash| hash.0);
        Self {
            md5: header("content-md5").map(str::to_owned),
            sha256,
            checksums,
            trailers,
            hasher,
            payload: sha256.map(|_| s3s::crypto::Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(payload) = &mut self.payload {
            payload.update(bytes);
        }
    }

    /// Compares, and answers the sums that the object keeps.
    fn check(self, draft: &Draft) -> S3Result<Vec<(&'static str, String)>> {
        if let Some(md5) = self.md5 {
            match STANDARD.decode(&md5) {
                Ok(bytes) if bytes.len() == 16 => {
                    if bytes != draft.md5() {
                        return Err(error(
                            S3ErrorCode::BadDigest,
                            "The Content-MD5 you specified did not match what we received.",
                        ));
                    }
                }
                _ => {
                    return Err(error(
                        S3ErrorCode::InvalidDigest,
                        "The Content-MD5 you specified was invalid.",
                    ));
                }
            }
        }
        if let (Some(expected), Some(payload)) = (self.sha256, self.payload)
            && payload.finalize() != expected
        {
            let words =
                "The provided 'x-amz-content-sha256' header does not match what was computed.";
            let mut mismatch =
                error(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), words);
            mismatch.set_status_code(http::StatusCode::BAD_REQUEST);
            return Err(mismatch);
        }
        let mut expected = self.checksums;
        if let Some(trailers) = self.trailers {
            for (name, value) in trailers.take() {
                if let Some(algorithm) = ALGORITHMS
                    .into_iter()
                    .find(|algorithm| name.strip_prefix("x-amz-checksum-") == Some(algorithm))
                {
                    expected.push((algorithm, value));
                }
            }
        }
        let Checksum {
            checksum_crc32,
            checksum_crc32c,
            checksum_crc64nvme,
            checksum_sha1,
            checksum_sha256,
            ..
        } = self.hasher.finalize();
        let computed =
            [checksum_crc32, checksum_crc32c, checksum_crc64nvme, checksum_sha1, checksum_sha256];
        let computed: Vec<_> = ALGORITHMS
            .into_iter()
            .zip(computed)
            .filter_map(|(name, sum)| Some((name, sum?)))
            .collect();
        for (name, value) in expected {
            if computed.iter().any(|(algorithm, sum)| *algorithm == name && *sum != value) {
                let words = format!(
                    "The {} you specified did not match the calculated checksum.",
                    name.to_uppercase()
                );
                return Err(S3Error::with_message(S3ErrorCode::BadDigest, words));
            }
        }
        Ok(computed)
    }
}

/// Writes a request's body to a draft and checks it.
async fn receive(
    objects: &Objects,
    body: Option<StreamingBlob>,
    mut expected: Expected,
) -> S3Result<(Draft, Vec<(&'static str, String)>)> {
    let mut draft = objects.begin()?;
    if let Some(mut body) = body {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|source| {
                let mut incomplete = error(
                    S3ErrorCode::IncompleteBody,
                    "The body ended early, or is not what its headers say.",
                );
                incomplete.set_source(source);
                incomplete
            })?;
            expected.update(&piece);
            draft.write(&piece)?;
        }
    }
    let checksums = expected.check(&draft)?;
    Ok((draft, checksums))
}

/// What a PUT says of the object beside its bytes.
fn describe(headers: &http::HeaderMap, user: Option<HashMap<String, String>>) -> S3Result<Meta> {
    let mut meta = Meta::default();
    for name in KEPT {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok())
            && !value.is_empty()
        {
            meta.headers.insert(name.to_owned(), value.to_owned());
        }
    }
    let user = user.unwrap_or_default();
    if user.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_USER_METADATA
    {
        return Err(error(
            S3ErrorCode::MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    meta.user = user.into_iter().collect();
    Ok(meta)
}

fn condition(
    if_none_match: Option<&ETagCondition>,
    if_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    let mut condition = Condition::default();
    match if_none_match {
        None => {}
        Some(ETagCondition::Any) => condition.absent = true,
        Some(ETagCondition::ETag(_)) => {
            return Err(error(
                S3ErrorCode::NotImplemented,
                "A PUT takes no other If-None-Match than *",
            ));
        }
    }
    match if_match {
        None => {}
        Some(ETagCondition::ETag(etag)) => condition.etag = Some(etag.value().to_owned()),
        Some(ETagCondition::Any) => {
            return Err(error(
                S3ErrorCode::NotImplemented,
                "A PUT takes no If-Match of *, but an ETag",
            ));
        }
    }
    Ok(condition)
}

/// Whether a GET or HEAD is answered at all.
struct Reading<'a> {
    if_match: Option<&'a ETagCondition>,
    if_none_match: Option<&'a ETagCondition>,
    if_modified_since: Option<&'a Timestamp>,
    if_unmodified_since: Option<&'a Timestamp>,
}

impl Reading<'_> {
    fn check(&self, meta: &Meta) -> S3Result<()> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == meta.etag,
        };
        // A header counts whole seconds.
        let modified = timestamp(meta.modified / 1000 * 1000);
        let precondition = || Err(Problem::Precondition.into());
        match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !is(condition) => return precondition(),
            (None, Some(since)) if modified > *since => return precondition(),
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if is(condition) => Err(not_modified(meta)),
            (None, Some(since)) if modified <= *since => Err(not_modified(meta)),
            _ => Ok(()),
        }
    }
}

fn not_modified(meta: &Meta) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    if let Ok(value) = ETag::Strong(meta.etag.clone()).to_http_header() {
        error.set_headers(http::HeaderMap::from_iter([(http::header::ETAG, value)]));
    }
    error
}

fn expires(meta: &Meta) -> http::HeaderMap {
    let value =
        meta.headers.get("expires").and_then(|value| http::HeaderValue::from_str(value).ok());
    value.into_iter().map(|value| (http::header::EXPIRES, value)).collect()
}

/// The body of a GET: `start` to `end` of the file.
fn body(mut opened: Opened, start: u64, end: u64) -> io::Result<StreamingBlob> {
    let length = end - start;
    opened.file.seek(SeekFrom::Start(start))?;
    if let Ok(length) = usize::try_from(length)
        && length <= PIECE
    {
        let mut bytes = vec![0; length];
        opened.file.read_exact(&mut bytes)?;
        return Ok(StreamingBlob::from(Body::from(bytes)));
    }
    let pieces = stream::try_unfold((opened.file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; size];
            file.read_exact(&mut bytes).map(|()| (Bytes::from(bytes), file))
        });
        let (bytes, file) = read.await.map_err(io::Error::other)??;
        let left = left - bytes.len() as u64;
        Ok::<_, io::Error>(Some((bytes, (file, left))))
    });
    Ok(StreamingBlob::wrap(pieces))
}

/// As S3 wants it where a client asks for `encoding-type=url`: XML can't hold every key.
fn coded(text: String, encoding: Option<&EncodingType>) -> String {
    if encoding.is_none_or(|encoding| encoding.as_str() != EncodingType::URL) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                out.push(char::from(byte))
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn max_keys(asked: Option<i32>) -> S3Result<usize> {
    match asked {
        None => Ok(MAX_KEYS as usize),
        Some(asked) => usize::try_from(asked.min(MAX_KEYS))
            .map_err(|_| error(S3ErrorCode::InvalidArgument, "max-keys is not negative")),
    }
}

fn owner() -> Owner {
    Owner { display_name: Some(OWNER.into()), id: Some(OWNER.into()) }
}

fn listed(meta: Meta, encoding: Option<&EncodingType>, with_owner: bool) -> Object {
    Object {
        e_tag: etag(&meta),
        last_modified: Some(timestamp(meta.modified)),
        size: long(meta.size),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        owner: with_owner.then(owner),
        key: Some(coded(meta.key, encoding)),
        ..Object::default()
    }
}

fn prefixes(prefixes: Vec<String>, encoding: Option<&EncodingType>) -> Option<Vec<CommonPrefix>> {
    let coded: Vec<_> = prefixes
        .into_iter()
        .map(|prefix| CommonPrefix { prefix: Some(coded(prefix, encoding)) })
        .collect();
    (!coded.is_empty()).then_some(coded)
}

/// The service: s3s hands it what it read.
pub struct Service(pub Arc<Store>);

/// What a GET and a HEAD both say of an object, in their own types; `$sums`: its checksums, too.
macro_rules! described {
    ($Output:ident, $meta:expr, $sums:expr) => {{
        let meta = &$meta;
        let header = |name: &str| meta.headers.get(name).cloned();
        let sum = |name: &str| meta.checksums.get(name).filter(|_| $sums).cloned();
        $Output {
            accept_ranges: Some("bytes".into()),
            cache_control: header("cache-control"),
            checksum_crc32: sum("crc32"),
            checksum_crc32c: sum("crc32c"),
            checksum_crc64nvme: sum("crc64nvme"),
            checksum_sha1: sum("sha1"),
            checksum_sha256: sum("sha256"),
            content_disposition: header("content-disposition"),
            content_encoding: header("content-encoding"),
            content_language: header("content-language"),
            content_type: Some(header("content-type").unwrap_or_else(|| NO_TYPE.into())),
            e_tag: etag(meta),
            last_modified: Some(timestamp(meta.modified)),
            metadata: (!meta.user.is_empty()).then(|| meta.user.clone().into_iter().collect()),
            ..$Output::default()
        }
    }};
}

/// Refuses `response-content-type` and its like in an unsigned request, and in a browser's: a link
/// could make HTML of a record.
/// Source: S3's own answer; the API reference of GetObject has the rule ("You must sign the
/// request").
macro_rules! expect_own_headers {
    ($req:expr) => {{
        let input = &$req.input;
        let overrides = input.response_content_type.is_some()
            || input.response_content_disposition.is_some()
            || input.response_content_encoding.is_some()
            || input.response_content_language.is_some()
            || input.response_cache_control.is_some()
            || input.response_expires.is_some();
        if overrides && $req.extensions.get::<Signed>().is_none() {
            let words =
                "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(error(S3ErrorCode::InvalidRequest, words));
        }
    }};
}

#[async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.0.objects.create_bucket(&req.input.bucket)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", req.input.bucket)) }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.0.objects.delete_bucket(&req.input.bucket)?;
        Ok(S3Response::with_status(DeleteBucketOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.0.objects.expect_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.0.objects.expect_bucket(&req.input.bucket)?;
        // None is us-east-1.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(
        &self,
        _: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self.0.objects.buckets()?.into_iter();
        let buckets = buckets.map(|bucket| Bucket {
            name: Some(bucket.name),
            creation_date: Some(timestamp(bucket.created)),
            ..Bucket::default()
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(owner()),
            ..ListBucketsOutput::default()
        }))
    }

    async fn put_object(
        &self,
        mut req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.0.objects.expect_bucket(&req.input.bucket)?;
        let expected = Expected::new(&req);
        let mut meta = describe(&req.headers, req.input.metadata.take())?;
        let condition = condition(req.input.if_none_match.as_ref(), req.input.if_match.as_ref())?;
        let input = req.input;
        let (draft, checksums) = receive(&self.0.objects, input.body, expected).await?;
        meta.key = input.key;
        meta.checksums =
            checksums.iter().map(|(name, sum)| ((*name).to_owned(), sum.clone())).collect();
        let meta = self.0.objects.put(&input.bucket, draft, meta, &condition)?;
        let sum = |name: &str| meta.checksums.get(name).cloned();
        let output = PutObjectOutput {
            e_tag: etag(&meta),
            checksum_crc32: sum("crc32"),
            checksum_crc32c: sum("crc32c"),
            checksum_crc64nvme: sum("crc64nvme"),
            checksum_sha1: sum("sha1"),
            checksum_sha256: sum("sha256"),
            ..PutObjectOutput::default()
        };
        self.0.tell(Stored::S3 { bucket: input.bucket, key: meta.key, bytes: meta.size });
        Ok(S3Response::new(output))
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        expect_own_headers!(req);
        let GetObjectInput {
            bucket,
            key,
            range,
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
            checksum_mode,
            ..
        } = req.input;
        let opened = self.0.objects.get(&bucket, &key)?;
        let meta = opened.meta.clone();
        let reading = Reading {
            if_match: if_match.as_ref(),
            if_none_match: if_none_match.as_ref(),
            if_modified_since: if_modified_since.as_ref(),
            if_unmodified_since: if_unmodified_since.as_ref(),
        };
        reading.check(&meta)?;
        let (part, whole) = match range {
            None => (0..meta.size, true),
            Some(range) => (within(&range, meta.size)?, false),
        };
        let body = body(opened, part.start, part.end).map_err(Problem::from)?;
        let sums = whole && checksum_mode.is_some();
        let output = GetObjectOutput {
            body: Some(body),
            content_length: long(part.end - part.start),
            content_range: (!whole).then(|| {
                format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), meta.size)
            }),
            ..described!(GetObjectOutput, meta, sums)
        };
        Ok(S3Response::with_headers(output, expires(&meta)))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        expect_own_headers!(req);
        let HeadObjectInput {
            bucket,
            key,
            range,
            if_match,
            if_none_match,
            if_modified_since,
            if_unmodified_since,
            checksum_mode,
            ..
        } = req.input;
        let meta = self.0.objects.get(&bucket, &key)?.meta;
        let reading = Reading {
            if_match: if_match.as_ref(),
            if_none_match: if_none_match.as_ref(),
            if_modified_since: if_modified_since.as_ref(),
            if_unmodified_since: if_unmodified_since.as_ref(),
        };
        reading.check(&meta)?;
        let part = range.map(|range| within(&range, meta.size)).transpose()?;
        let sums = part.is_none() && checksum_mode.is_some();
        let output = HeadObjectOutput {
            content_length: long(part.as_ref().map_or(meta.size, |part| part.end - part.start)),
            content_range: part.map(|part| {
                format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), meta.size)
            }),
            ..described!(HeadObjectOutput, meta, sums)
        };
        Ok(S3Response::with_headers(output, expires(&meta)))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        let condition = match &input.if_match {
            None | Some(ETagCondition::Any) => Condition::default(),
            Some(ETagCondition::ETag(etag)) => {
                Condition { absent: false, etag: Some(etag.value().to_owned()) }
            }
        };
        self.0.objects.delete(&input.bucket, &input.key, &condition)?;
        Ok(S3Response::with_status(DeleteObjectOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        self.0.objects.expect_bucket(&bucket)?;
        if delete.objects.len() > MAX_KEYS as usize {
            return Err(S3ErrorCode::MalformedXML.into());
        }
        let quiet = delete.quiet == Some(true);
        let store = self.0.clone();
        let output = blocking(move || {
            let (mut deleted, mut errors) = (Vec::new(), Vec::new());
            for object in delete.objects {
                let condition =
                    Condition { absent: false, etag: object.e_tag.map(ETag::into_value) };
                match store.objects.delete(&bucket, &object.key, &condition) {
                    Ok(()) => deleted
                        .push(DeletedObject { key: Some(object.key), ..DeletedObject::default() }),
                    Err(problem) => {
                        let problem = S3Error::from(problem);
                        errors.push(s3s::dto::Error {
                            code: Some(problem.code().as_str().to_owned()),
                            message: problem.message().map(str::to_owned),
                            key: Some(object.key),
                            version_id: None,
                        });
                    }
                }
            }
            let deleted = (!quiet).then_some(deleted);
            Ok(DeleteObjectsOutput {
                deleted,
                errors: (!errors.is_empty()).then_some(errors),
                request_charged: None,
            })
        });
        Ok(S3Response::new(output.await?))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let ListObjectsInput {
            bucket,
            delimiter,
            encoding_type,
            marker,
            max_keys: asked,
            prefix,
            ..
        } = req.input;
        let max = max_keys(asked)?;
        let query = Query {
            prefix: prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
            after: marker.clone().filter(|marker| !marker.is_empty()),
            max,
        };
        let (store, name) = (self.0.clone(), bucket.clone());
        let page = blocking(move || store.objects.list(&name, &query)).await?;
        let encoding = encoding_type.as_ref();
        let truncated = page.next.is_some() && max > 0;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(bucket),
            prefix: Some(coded(prefix.unwrap_or_default(), encoding)),
            marker: Some(coded(marker.unwrap_or_default(), encoding)),
            max_keys: i32::try_from(max).ok(),
            is_truncated: Some(truncated),
            contents: Some(
                page.objects.into_iter().map(|meta| listed(meta, encoding, true)).collect(),
            ),
            common_prefixes: prefixes(page.prefixes, encoding),
            // S3 itself names it only where there is a delimiter; a client takes the last key
            // otherwise
            next_marker: page
                .next
                .filter(|_| truncated && delimiter.is_some())
                .map(|next| coded(next, encoding)),
            delimiter: delimiter.map(|delimiter| coded(delimiter, encoding)),
            encoding_type,
            request_charged: None,
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input {
            bucket,
            continuation_token,
            delimiter,
            encoding_type,
            fetch_owner,
            max_keys: asked,
            prefix,
            start_after,
            ..
        } = req.input;
        let max = max_keys(asked)?;
        let wrong_token =
            || error(S3ErrorCode::InvalidArgument, "The continuation token provided is incorrect");
        let resumed = match &continuation_token {
            None => None,
            Some(token) => {
                let bytes = STANDARD.decode(token).map_err(|_| wrong_token())?;
                Some(String::from_utf8(bytes).map_err(|_| wrong_token())?)
            }
        };
        let query = Query {
            prefix: prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
            after: resumed.or_else(|| start_after.clone()).filter(|after| !after.is_empty()),
            max,
        };
        let (store, name) = (self.0.clone(), bucket.clone());
        let page = blocking(move || store.objects.list(&name, &query)).await?;
        let encoding = encoding_type.as_ref();
        let truncated = page.next.is_some() && max > 0;
        let with_owner = fetch_owner == Some(true);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket),
            prefix: Some(coded(prefix.unwrap_or_default(), encoding)),
            max_keys: i32::try_from(max).ok(),
            key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
            continuation_token,
            is_truncated: Some(truncated),
            next_continuation_token: page
                .next
                .filter(|_| truncated)
                .map(|next| STANDARD.encode(next)),
            contents: Some(
                page.objects.into_iter().map(|meta| listed(meta, encoding, with_owner)).collect(),
            ),
            common_prefixes: prefixes(page.prefixes, encoding),
            delimiter: delimiter.map(|delimiter| coded(delimiter, encoding)),
            start_after: start_after.map(|after| coded(after, encoding)),
            encoding_type,
            request_charged: None,
        }))
    }

    async fn copy_object(
        &self,
        mut req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let (bucket, key) = source(&req.input.copy_source)?;
        let replaced = req
            .input
            .metadata_directive
            .as_ref()
            .is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
        if !replaced && (bucket, key) == (req.input.bucket.as_str(), req.input.key.as_str()) {
            let words = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata";
            return Err(error(S3ErrorCode::InvalidRequest, words));
        }
        let mut opened = self.0.objects.get(bucket, key)?;
        let reading = Reading {
            if_match: req.input.copy_source_if_match.as_ref(),
            if_none_match: None,
            if_modified_since: None,
            if_unmodified_since: req.input.copy_source_if_unmodified_since.as_ref(),
        };
        reading.check(&opened.meta)?;
        // Of a copy, what a GET would answer 304 is a precondition that failed.
        let unless = Reading {
            if_match: None,
            if_none_match: req.input.copy_source_if_none_match.as_ref(),
            if_modified_since: req.input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: None,
        };
        unless.check(&opened.meta).map_err(|_| S3Error::from(Problem::Precondition))?;
        let mut meta = if replaced {
            describe(&req.headers, req.input.metadata.take())?
        } else {
            Meta {
                headers: opened.meta.headers.clone(),
                user: opened.meta.user.clone(),
                ..Meta::default()
            }
        };
        let CopyObjectInput { bucket, key, .. } = req.input;
        meta.key = key;
        let store = self.0.clone();
        let (bucket, meta) = blocking(move || {
            let mut draft = store.objects.begin()?;
            draft.copy(&mut opened.file, opened.meta.size)?;
            let meta = store.objects.put(&bucket, draft, meta, &Condition::default())?;
            Ok((bucket, meta))
        })
        .await?;
        let result = CopyObjectResult {
            e_tag: etag(&meta),
            last_modified: Some(timestamp(meta.modified)),
            ..CopyObjectResult::default()
        };
        self.0.tell(Stored::S3 { bucket, key: meta.key, bytes: meta.size });
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        mut req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut meta = describe(&req.headers, req.input.metadata.take())?;
        let CreateMultipartUploadInput { bucket, key, checksum_algorithm, checksum_type, .. } =
            req.input;
        meta.key.clone_from(&key);
        let id = self.0.objects.create_upload(&bucket, &meta)?;
        let output = CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            checksum_algorithm,
            checksum_type,
            ..CreateMultipartUploadOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let expected = Expected::new(&req);
        let UploadPartInput { body, bucket, key, upload_id, part_number, .. } = req.input;
        let number = part(part_number)?;
        self.0.objects.expect_upload(&bucket, &key, &upload_id)?;
        let (draft, checksums) = receive(&self.0.objects, body, expected).await?;
        let checksums = checksums.into_iter().map(|(name, sum)| (name.to_owned(), sum)).collect();
        let meta = Meta { checksums, ..Meta::default() };
        let meta = self.0.objects.put_part(&bucket, &key, &upload_id, number, draft, meta)?;
        let sum = |name: &str| meta.checksums.get(name).cloned();
        Ok(S3Response::new(UploadPartOutput {
            e_tag: etag(&meta),
            checksum_crc32: sum("crc32"),
            checksum_crc32c: sum("crc32c"),
            checksum_crc64nvme: sum("crc64nvme"),
            checksum_sha1: sum("sha1"),
            checksum_sha256: sum("sha256"),
            ..UploadPartOutput::default()
        }))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let UploadPartCopyInput {
            bucket,
            key,
            upload_id,
            part_number,
            copy_source,
            copy_source_range,
            ..
        } = req.input;
        let number = part(part_number)?;
        let mut opened = {
            let (bucket, key) = source(&copy_source)?;
            self.0.objects.get(bucket, key)?
        };
        let whole = opened.meta.size;
        let range = match copy_source_range {
            None => 0..whole,
            Some(range) => {
                let range = Range::parse(&range).map_err(|_| {
                    error(
                        S3ErrorCode::InvalidArgument,
                        "The x-amz-copy-source-range value is not valid",
                    )
                })?;
                within(&range, whole)?
            }
        };
        let store = self.0.clone();
        let copied = blocking(move || {
            opened.file.seek(SeekFrom::Start(range.start))?;
            let mut draft = store.objects.begin()?;
            draft.copy(&mut opened.file, range.end - range.start)?;
            store.objects.put_part(&bucket, &key, &upload_id, number, draft, Meta::default())
        });
        let meta = copied.await?;
        let result = CopyPartResult {
            e_tag: etag(&meta),
            last_modified: Some(timestamp(meta.modified)),
            ..CopyPartResult::default()
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        }))
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let ListPartsInput { bucket, key, upload_id, max_parts, part_number_marker, .. } =
            req.input;
        let max = max_keys(max_parts)?;
        let after =
            part_number_marker.and_then(|marker| u32::try_from(marker).ok()).unwrap_or_default();
        let mut parts = self.0.objects.parts(&bucket, &key, &upload_id)?;
        parts.retain(|(number, _)| *number > after);
        let truncated = parts.len() > max;
        parts.truncate(max);
        let number = |number: u32| i32::try_from(number).ok();
        let output = ListPartsOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload_id),
            part_number_marker: number(after),
            max_parts: i32::try_from(max).ok(),
            is_truncated: Some(truncated),
            next_part_number_marker: parts
                .last()
                .filter(|_| truncated)
                .and_then(|last| number(last.0)),
            owner: Some(owner()),
            parts: Some(
                parts
                    .into_iter()
                    .map(|(n, meta)| Part {
                        part_number: number(n),
                        e_tag: etag(&meta),
                        size: long(meta.size),
                        last_modified: Some(timestamp(meta.modified)),
                        ..Part::default()
                    })
                    .collect(),
            ),
            ..ListPartsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let ListMultipartUploadsInput { bucket, prefix, encoding_type, .. } = req.input;
        let begin = prefix.clone().unwrap_or_default();
        // Nobody has a thousand uploads under way here, so there is one page.
        let uploads = self
            .0
            .objects
            .list_uploads(&bucket)?
            .into_iter()
            .filter(|(_, meta)| meta.key.starts_with(&begin));
        let encoding = encoding_type.as_ref();
        let uploads = uploads.map(|(id, meta)| MultipartUpload {
            upload_id: Some(id),
            initiated: Some(timestamp(meta.modified)),
            key: Some(coded(meta.key, encoding)),
            owner: Some(owner()),
            ..MultipartUpload::default()
        });
        let output = ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            bucket: Some(bucket),
            prefix,
            is_truncated: Some(false),
            max_uploads: Some(MAX_KEYS),
            encoding_type: encoding_type.clone(),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
        self.0.objects.abort_upload(&bucket, &key, &upload_id)?;
        Ok(S3Response::with_status(
            AbortMultipartUploadOutput::default(),
            http::StatusCode::NO_CONTENT,
        ))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput {
            bucket,
            key,
            upload_id,
            multipart_upload,
            if_match,
            if_none_match,
            ..
        } = req.input;
        let condition = condition(if_none_match.as_ref(), if_match.as_ref())?;
        let mut parts = Vec::new();
        for completed in multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
            let number =
                completed.part_number.ok_or_else(|| S3Error::new(S3ErrorCode::MalformedXML))?;
            parts.push((part(number)?, completed.e_tag.map(ETag::into_value)));
        }
        if parts.is_empty() {
            return Err(S3ErrorCode::MalformedXML.into());
        }
        let (store, name) = (self.0.clone(), bucket.clone());
        let meta = blocking(move || {
            store.objects.complete_upload(&name, &key, &upload_id, &parts, &condition)
        })
        .await?;
        self.0.tell(Stored::S3 { bucket: bucket.clone(), key: meta.key.clone(), bytes: meta.size });
        let output = CompleteMultipartUploadOutput {
            location: Some(format!("/{bucket}/{}", meta.key)),
            e_tag: etag(&meta),
            bucket: Some(bucket),
            key: Some(meta.key),
            ..CompleteMultipartUploadOutput::default()
        };
        Ok(S3Response::new(output))
    }
}

/// A part's number: 1 to 10,000.
fn part(number: i32) -> S3Result<u32> {
    let words = "Part number must be an integer between 1 and 10000, inclusive";
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| error(S3ErrorCode::InvalidArgument, words))
}

/// Bucket and key of what is to be copied.
fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, version_id: None } => Ok((bucket, key)),
        _ => Err(error(
            S3ErrorCode::NotImplemented,
            "A copy's source is a bucket and a key here, without a version",
        )),
    }
}

/// The bytes that a range asks for; 416 says how many there are.
fn within(range: &Range, size: u64) -> S3Result<std::ops::Range<u64>> {
    range.check(size).map_err(|_| {
        let mut unsatisfiable =
            error(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
        if let Ok(value) = http::HeaderValue::from_str(&format!("bytes */{size}")) {
            unsatisfiable
                .set_headers(http::HeaderMap::from_iter([(http::header::CONTENT_RANGE, value)]));
        }
        unsatisfiable
    })
}
