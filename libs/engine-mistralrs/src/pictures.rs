//! The pictures of a request: what they are is read before anything is decoded, and bounded.

use std::io::Cursor;

use bytes::Bytes;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::{Image, image::Source};

use crate::request::{first_line, invalid};

mod webp;

/// The most pixels that all pictures of a request have together: 96 MiB when they are decoded.
const MOST_PIXELS: u64 = 32 << 20;
/// The most memory that a decoder may take to learn what a picture is; and to decode it, for each pixel, sixteen bits
/// a channel, and what it needs beside.
const MEMORY_TO_READ: u64 = 64 << 20;
const MEMORY_OF_A_PIXEL: u64 = 8;
const MEMORY_BESIDE: u64 = 4 << 20;
/// The longer edge of a picture that is to be seen in little detail, as OpenAI has it.
const LOW_DETAIL: u32 = 512;

/// Where a picture stands in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The contract's name of it.
    pub(crate) field: String,
    /// Which of the request's pictures it is, from 1: of other names of the field, not each has a place for it.
    pub(crate) number: usize,
}

impl Place {
    /// Refuses a request for this picture.
    pub(crate) fn refuse(&self, why: &str) -> EngineError {
        invalid(&self.field, &format!("picture {} {why}", self.number))
    }
}

/// A picture that was not decoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) place: Place,
    data: Bytes,
    format: ImageFormat,
    shrinks: bool,
    /// Its pixels, as the model gets it.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Its pixels as it was sent.
    pixels: u64,
}

impl Picture {
    /// Reads what a picture is, and nothing of what is seen on it.
    pub(crate) fn read(image: &Image, place: Place) -> Result<Self, EngineError> {
        let data = match &image.source {
            Some(Source::Data(data)) => data.clone(),
            Some(Source::Uri(_)) | None => {
                let why =
                    "is at an address, and this worker reaches no network; send itself, as a data URI or as bytes";
                return Err(place.refuse(why));
            }
        };
        let taken = "must be a PNG, JPEG, WebP or GIF";
        let format = image::guess_format(&data).map_err(|_| place.refuse(taken))?;
        if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif) {
            return Err(place.refuse(taken));
        }
        let shrinks = image.detail == "low";
        let mut picture = Self { place, data, format, shrinks, width: 0, height: 0, pixels: 0 };
        let mut decoder = picture.decoder(MEMORY_TO_READ)?;
        let (width, height) = decoder.dimensions();
        let turned = matches!(
            decoder.orientation().unwrap_or(Orientation::NoTransforms),
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        drop(decoder);
        if format == ImageFormat::WebP {
            webp::check(&picture.data, (width, height)).map_err(|why| picture.place.refuse(why))?;
        }
        picture.pixels = u64::from(width) * u64::from(height);
        (picture.width, picture.height) = if turned { (height, width) } else { (width, height) };
        picture.shrink();
        Ok(picture)
    }

    fn shrink(&mut self) {
        let long = self.width.max(self.height);
        if self.shrinks && long > LOW_DETAIL {
            let edge = |edge: u32| {
                let edge = u64::from(edge) * u64::from(LOW_DETAIL) / u64::from(long);
                u32::try_from(edge).unwrap_or(LOW_DETAIL).max(1)
            };
            (self.width, self.height) = (edge(self.width), edge(self.height));
        }
    }

    /// Takes long. The first of several pictures is taken where they move.
    ///
    /// A large one is made small here, and not by mistral.rs: it would do it, in the same way, on the engine's thread,
    /// where everybody waits for it.
    pub(crate) fn decode(&self) -> Result<DynamicImage, EngineError> {
        let memory = self.pixels.saturating_mul(MEMORY_OF_A_PIXEL).saturating_add(MEMORY_BESIDE);
        let mut decoder = self.decoder(memory)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let decoded = DynamicImage::from_decoder(decoder).map_err(|error| self.broken(&error))?;
        let mut image = DynamicImage::ImageRgb8(decoded.into_rgb8());
        image.apply_orientation(orientation);
        if (image.width(), image.height()) != (self.width, self.height) {
            image = image.resize_exact(self.width, self.height, FilterType::CatmullRom);
        }
        Ok(with_size(image.into_rgb8()))
    }

    fn decoder(&self, memory: u64) -> Result<impl ImageDecoder + '_, EngineError> {
        let mut reader = ImageReader::with_format(Cursor::new(&self.data), self.format);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(memory);
        reader.limits(limits);
        reader.into_decoder().map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &image::ImageError) -> EngineError {
        self.place.refuse(&format!("cannot be read: {}", first_line(error)))
    }
}

/// Appends its size to a picture's bytes, where nobody looks for pixels: mistral.rs knows pictures that it has seen by
/// their bytes alone, and would take one for another of the same bytes and another size.
fn with_size(image: RgbImage) -> DynamicImage {
    let (width, height) = image.dimensions();
    let mut bytes = image.into_raw();
    bytes.extend_from_slice(&width.to_le_bytes());
    bytes.extend_from_slice(&height.to_le_bytes());
    DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, bytes).unwrap_or_default())
}

/// Refuses pictures that have too many pixels together.
pub(crate) fn check_sizes(pictures: &[Picture]) -> Result<(), EngineError> {
    let mut pixels = 0_u64;
    for picture in pictures {
        pixels = pixels.saturating_add(picture.pixels);
        if pixels > MOST_PIXELS {
            let most = MOST_PIXELS >> 20;
            let why = format!("and those before it have more than {most} Mi pixels; send smaller or fewer ones");
            return Err(picture.place.refuse(&why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::LazyLock;

    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage};
    use pointsman_engine::EngineError;
    use pointsman_proto::inference::v1::{Image, image::Source};
    use proptest::prelude::*;

    use super::{Picture, Place, check_sizes};

    fn read(data: Vec<u8>, detail: &str) -> Result<Picture, EngineError> {
        let image = Image { source: Some(Source::Data(data.into())), detail: detail.to_owned(), ..Image::default() };
        Picture::read(&image, Place { field: "messages[0].parts[0].image".to_owned(), number: 1 })
    }

    fn drawing() -> RgbImage {
        RgbImage::from_fn(60, 40, |x, _| if x < 20 { Rgb([250, 0, 0]) } else { Rgb([0, 0, 250]) })
    }

    fn drawn(format: ImageFormat) -> Vec<u8> {
        let mut data = Cursor::new(Vec::new());
        drawing().write_to(&mut data, format).unwrap();
        data.into_inner()
    }

    #[test]
    fn a_picture_is_turned_as_its_camera_says() {
        // The one entry of this directory is the orientation, a quarter to the right.
        let exif = [b"II*\0\x08\0\0\0\x01\0".as_slice(), &[0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]];
        let mut data = Vec::new();
        let mut encoder = JpegEncoder::new(&mut data);
        encoder.set_exif_metadata(exif.concat()).unwrap();
        encoder.write_image(&drawing(), 60, 40, ExtendedColorType::Rgb8).unwrap();
        let picture = read(data, "").unwrap();
        assert_eq!((picture.width, picture.height), (40, 60));
        let seen = picture.decode().unwrap().into_rgb8();
        assert_eq!(seen.dimensions(), (40, 60));
        // What was on the left is above.
        assert!(seen.get_pixel(20, 2).0[0] > 200 && seen.get_pixel(20, 57).0[2] > 200);
    }

    #[test]
    fn little_detail_is_small() {
        let mut data = Cursor::new(Vec::new());
        RgbImage::new(1024, 300).write_to(&mut data, ImageFormat::Png).unwrap();
        for (detail, size) in [("low", (512, 150)), ("high", (1024, 300))] {
            let picture = read(data.get_ref().clone(), detail).unwrap();
            let seen = picture.decode().unwrap();
            assert_eq!((picture.width, picture.height), size);
            assert_eq!((seen.width(), seen.height()), size);
        }
        let small = read(drawn(ImageFormat::Png), "low").unwrap();
        assert_eq!((small.width, small.height), (60, 40));
    }

    #[test]
    fn an_extended_webp_is_seen_where_its_parts_agree() {
        let plain = drawn(ImageFormat::WebP);
        let extended = |flags: u8, (width, height): (u8, u8), parts: &[u8]| {
            let canvas = [b"WEBPVP8X\x0a\0\0\0".as_slice(), &[flags, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0]];
            let content = [&canvas.concat(), parts].concat();
            [b"RIFF", &u32::try_from(content.len()).unwrap().to_le_bytes(), content.as_slice()].concat()
        };
        let seen = read(extended(0, (60, 40), &plain[12..]), "").unwrap().decode().unwrap().into_rgb8();
        assert_eq!((seen.dimensions(), *seen.get_pixel(2, 2)), ((60, 40), Rgb([250, 0, 0])));
        for size in [(60, 41), (6, 4)] {
            let refused = read(extended(0, size, &plain[12..]), "").unwrap_err().to_string();
            assert!(refused.contains("different sizes"), "{refused}");
        }
        // One frame at 0, 0, of 60 × 40.
        let frame = [&[0, 0, 0, 0, 0, 0, 59, 0, 0, 39, 0, 0, 9, 0, 0, 0], &plain[12..]].concat();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let parts = [b"ANIM\x06\0\0\0\0\0\0\0\0\0ANMF".as_slice(), &length, &frame].concat();
        let moves = read(extended(2, (60, 40), &parts), "").unwrap_err().to_string();
        assert!(moves.contains("stands still"), "{moves}");
    }

    #[test]
    fn pictures_are_bounded_together() {
        let half = Picture { pixels: 17 << 20, ..read(drawn(ImageFormat::Png), "").unwrap() };
        assert!(check_sizes(std::slice::from_ref(&half)).is_ok());
        assert!(check_sizes(&[half.clone(), half]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_for_a_picture_ends_anything(
            format in 0_usize..4,
            keep in 0_usize..3000,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];
            static DRAWN: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| FORMATS.map(drawn));
            let mut data = DRAWN[format].clone();
            data.truncate(keep.max(1));
            for (place, byte) in changes {
                let place = place.index(data.len());
                data[place] = byte;
            }
            if let Ok(picture) = read(data, "")
                && check_sizes(std::slice::from_ref(&picture)).is_ok()
                && let Ok(seen) = picture.decode()
            {
                prop_assert_eq!((seen.width(), seen.height()), (picture.width, picture.height));
            }
        }
    }
}
