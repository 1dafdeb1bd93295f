//! What the pieces of a WebP picture say of their size: the decoder makes room for a piece before it compares.
//! Format: RFC 9649.

/// Refuses a picture that moves, or has a piece of another size than its own, as far as it is WebP at all.
pub(super) fn check(data: &[u8], size: (u32, u32)) -> Result<(), &'static str> {
    // After `RIFF`, a length, and `WEBP`.
    let mut rest = data.get(12..).unwrap_or_default();
    while let Some((name, content, after)) = chunk(rest) {
        let own = match name {
            b"ANIM" | b"ANMF" => return Err("moves; send a WebP that stands still"),
            b"VP8X" if content.first().is_some_and(|flags| flags & 2 != 0) => {
                return Err("moves; send a WebP that stands still");
            }
            b"VP8 " => Some(lossy_size(content)),
            b"VP8L" => Some(lossless_size(content)),
            _ => None,
        };
        if own.is_some_and(|own| own != Some(size)) {
            return Err("cannot be read: its parts are of different sizes");
        }
        rest = after;
    }
    Ok(())
}

/// Takes one piece: its name, what is in it as far as it is there, and what follows it.
fn chunk(data: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (name, rest) = data.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let content = rest.get(..length).unwrap_or(rest);
    Some((name, content, rest.get(length.checked_next_multiple_of(2)?..).unwrap_or_default()))
}

fn lossy_size(content: &[u8]) -> Option<(u32, u32)> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *content.first_chunk::<10>()? else { return None };
    let edge = |bytes: [u8; 2]| u32::from(u16::from_le_bytes(bytes) & 0x3fff);
    Some((edge([w0, w1]), edge([h0, h1])))
}

fn lossless_size(content: &[u8]) -> Option<(u32, u32)> {
    let [0x2f, b0, b1, b2, b3] = *content.first_chunk::<5>()? else { return None };
    let bits = u32::from_le_bytes([b0, b1, b2, b3]);
    Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
}
