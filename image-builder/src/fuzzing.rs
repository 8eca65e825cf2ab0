//! What fuzz targets ask of the builder (`tests/fuzz`): a function of any bytes that ends a process whose promises do
//! not hold.

use crate::registry::{Credentials, CredentialsFile};
use crate::sentence;

/// A file of credentials: what is found in it can stand in a header, and no refusal repeats what stands in the file.
/// No helper is run.
pub fn credentials(bytes: &[u8]) {
    let file = match CredentialsFile::parse(bytes) {
        Ok(file) => file,
        Err(error) => return untold(bytes, &sentence(&error)),
    };
    for (registry, repository) in
        [("r.io", "team/app"), ("docker.io", "library/redis"), ("localhost:5000", "a")]
    {
        match file.entry(registry, repository) {
            Ok(None) => {}
            Ok(Some(credentials)) => usable(&credentials),
            Err(error) => untold(bytes, &sentence(&error)),
        }
    }
}

fn usable(credentials: &Credentials) {
    assert_eq!(format!("{credentials:?}"), "Credentials(secret)");
    match credentials {
        Credentials::Basic { user, password } => {
            assert!(!user.is_empty() && !user.contains(':'), "the name ends at its first colon");
            let words = format!("{user}{password}");
            assert!(!words.bytes().any(|byte| byte.is_ascii_control()), "it would end a line");
            assert!(words.len() <= 32 << 10, "{} bytes", words.len());
        }
        // It stands in a form, where everything is escaped.
        Credentials::IdentityToken(token) => assert!(token.len() <= 16 << 10, "{} bytes", token.len()),
    }
}

/// Whether a sentence is free of what stands in the file, but for pieces that any sentence may have.
fn untold(bytes: &[u8], sentence: &str) {
    let repeated = |piece: &[u8]| std::str::from_utf8(piece).is_ok_and(|piece| sentence.contains(piece));
    let told = bytes.windows(12).find(|piece| repeated(piece) && !sentence_of_ours(piece));
    assert!(told.is_none(), "{sentence:?} tells {told:?}");
}

/// Our own sentences may stand in a file too.
fn sentence_of_ours(piece: &[u8]) -> bool {
    use crate::registry::CredentialsError::{Json, Words};
    [Json, Words]
        .iter()
        .any(|error| error.to_string().as_bytes().windows(piece.len()).any(|ours| ours == piece))
}
