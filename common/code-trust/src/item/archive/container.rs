//! The plain form of ZIP: one after the other, each file behind its header, then the directory, then the end.
//!
//! ```text
//! header, name, bytes [, descriptor]   for each file, without a gap
//! record, name                         for each file: the central directory
//! end                                  without a comment
//! ```
//!
//! Invariant: headers and directory name the same files, and every byte belongs to one of them, so that a reader from the
//! front and one from the back agree. ZIP64, encryption, links, parts, comments and prefixes are refused.

use std::io::Write as _;

use flate2::{Compression, Crc, write::DeflateEncoder};

use super::ArchiveError;
use crate::item::MOST_FILES;

const HEADER: u32 = 0x0403_4b50;
const RECORD: u32 = 0x0201_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const END: u32 = 0x0605_4b50;
/// How long the end is, bytes.
const END_BYTES: usize = 22;
/// General purpose bit 3: sizes stand behind the bytes.
const DESCRIBED: u16 = 1 << 3;
/// Bit 11: the name is UTF-8.
const UTF8: u16 = 1 << 11;
/// Bits 1 and 2 say how hard was packed; with those above they are all that is accepted.
const KNOWN: u16 = DESCRIBED | UTF8 | 1 << 1 | 1 << 2;
/// The extra fields that are accepted: times and owners, as packers of Unix and Windows write them. None changes a size
/// (ZIP64) or a name (the Unicode path of Info-ZIP), and nobody knows what others mean.
const EXTRA: [u16; 4] = [0x5455, 0x5855, 0x7875, 0x000a];
/// The longest that one of them is, bytes: so much is too little for anything else.
const LONGEST_EXTRA: usize = 36;
/// What stands directly before the end where there is a directory in ZIP64, and how long it is.
const ZIP64_LOCATOR: (&[u8], usize) = (b"PK\x06\x07", 20);
/// Midnight of 1 January 1980, the first moment that there is.
const MOMENT: [u8; 4] = [0, 0, 0x21, 0];

/// One file as it lies in the archive.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) deflated: bool,
    pub(super) packed: &'a [u8],
    /// Unpacked, as it says.
    pub(super) size: usize,
    pub(super) crc: u32,
}

/// The files of an archive, by where they lie. Folders, which are empty, are left out.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, ArchiveError> {
    let end_at = bytes
        .len()
        .checked_sub(END_BYTES)
        .ok_or(ArchiveError::Form("it is too short"))?;
    let mut end = Cursor(&bytes[end_at..]);
    // With a comment the end would lie elsewhere, and the comment could be taken for an end too.
    if end.u32()? != END {
        return Err(ArchiveError::Form("it does not end as one, or has a comment"));
    }
    let (disk, start_disk, here, count) = (end.u16()?, end.u16()?, end.u16()?, end.u16()?);
    let (length, start, comment) = (end.size()?, end.size()?, end.u16()?);
    if disk != 0 || start_disk != 0 || here != count || comment != 0 {
        return Err(ArchiveError::Form("it is a part of several, or has a comment"));
    }
    if start.checked_add(length) != Some(end_at) {
        return Err(ArchiveError::Form("its directory is not where it should be"));
    }
    let locator = end_at.saturating_sub(ZIP64_LOCATOR.1);
    if bytes[locator..].starts_with(ZIP64_LOCATOR.0) {
        return Err(ArchiveError::Form("it is in ZIP64"));
    }
    let mut directory = Cursor(&bytes[start..end_at]);
    if usize::from(count) > MOST_FILES {
        return Err(ArchiveError::Form("it has too many files"));
    }
    let mut records = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        records.push(Record::read(&mut directory)?);
    }
    if !directory.0.is_empty() {
        return Err(ArchiveError::Form("its directory has more than it says"));
    }
    records.sort_by_key(|record| record.at);
    let mut at = 0;
    let (mut found, mut folders) = (Vec::with_capacity(records.len()), Vec::new());
    for record in &records {
        if record.at != at {
            return Err(ArchiveError::Form("there is something between its files"));
        }
        let (packed, next) = record.bytes(bytes, start)?;
        at = next;
        if let Some(folder) = record.name.strip_suffix('/') {
            if folder.is_empty() || record.size != 0 {
                return Err(ArchiveError::Form("it has a folder with bytes of its own"));
            }
            folders.push(record.name);
            continue;
        }
        found.push(Entry {
            name: record.name,
            deflated: record.deflated,
            packed,
            size: record.size,
            crc: record.crc,
        });
    }
    let empty = |folder: &&str| {
        !found
            .iter()
            .any(|entry: &Entry<'_>| entry.name.starts_with(*folder))
    };
    if folders.iter().any(empty) {
        return Err(ArchiveError::Form("it has a folder without files"));
    }
    if at == start {
        Ok(found)
    } else {
        Err(ArchiveError::Form("there is something before its directory"))
    }
}

/// What the directory says of one file.
struct Record<'a> {
    name: &'a str,
    flags: u16,
    deflated: bool,
    crc: u32,
    packed: usize,
    size: usize,
    at: usize,
}

impl<'a> Record<'a> {
    fn read(directory: &mut Cursor<'a>) -> Result<Self, ArchiveError> {
        if directory.u32()? != RECORD {
            return Err(ArchiveError::Form("its directory is damaged"));
        }
        let (made_by, _needed) = (directory.u16()?, directory.u16()?);
        let (flags, method) = (directory.u16()?, directory.u16()?);
        let _moment = directory.u32()?;
        let (crc, packed, size) = (directory.u32()?, directory.size()?, directory.size()?);
        let (name, extra, comment) = (directory.u16()?, directory.u16()?, directory.u16()?);
        let (disk, _internal) = (directory.u16()?, directory.u16()?);
        let (external, at) = (directory.u32()?, directory.size()?);
        let name = text(directory.take(name.into())?, flags)?;
        extra_fields(directory.take(extra.into())?)?;
        if comment != 0 || disk != 0 {
            return Err(ArchiveError::Form("it is a part of several, or has comments"));
        }
        // Made on Unix: the upper half is the mode, whose type is a file, a folder or nothing.
        let kind = (external >> 16) & 0o170_000;
        if made_by >> 8 == 3 && !matches!(kind, 0 | 0o100_000 | 0o040_000) {
            return Err(ArchiveError::Form("it has a link or a device"));
        }
        let deflated = method == 8;
        if !deflated && (method != 0 || packed != size) {
            return Err(ArchiveError::Form("it is packed by another method than deflate"));
        }
        if flags & !KNOWN != 0 || (flags & DESCRIBED != 0 && !deflated) {
            return Err(ArchiveError::Form(
                "it is encrypted, or of a form that not everybody reads",
            ));
        }
        Ok(Self {
            name,
            flags,
            deflated,
            crc,
            packed,
            size,
            at,
        })
    }

    /// The packed bytes, and where the next file begins, if the header in front of them says the same as the directory.
    fn bytes(&self, archive: &'a [u8], end: usize) -> Result<(&'a [u8], usize), ArchiveError> {
        let differs = ArchiveError::Form("a file and the directory differ");
        let mut rest = Cursor(archive.get(self.at..end).ok_or(differs.clone())?);
        let before = rest.0.len();
        let (sign, _needed) = (rest.u32()?, rest.u16()?);
        let (flags, method, _moment) = (rest.u16()?, rest.u16()?, rest.u32()?);
        let said = (rest.u32()?, rest.size()?, rest.size()?);
        let (name, extra) = (rest.u16()?, rest.u16()?);
        let name = rest.take(name.into())?;
        extra_fields(rest.take(extra.into())?)?;
        let real = (self.crc, self.packed, self.size);
        let described = self.flags & DESCRIBED != 0;
        let same = sign == HEADER
            && flags == self.flags
            && (method == 8) == self.deflated
            && (method == 0) != self.deflated
            && name == self.name.as_bytes()
            && (said == real || described && said == (0, 0, 0));
        if !same {
            return Err(differs);
        }
        let packed = rest.take(self.packed)?;
        if described {
            let mut first = rest.u32()?;
            if first == DESCRIPTOR {
                first = rest.u32()?;
            }
            if (first, rest.size()?, rest.size()?) != real {
                return Err(differs);
            }
        }
        Ok((packed, self.at + before - rest.0.len()))
    }
}

fn text(name: &[u8], flags: u16) -> Result<&str, ArchiveError> {
    let unreadable = ArchiveError::Form("it has a name that not everybody reads alike");
    let text = std::str::from_utf8(name).map_err(|_| unreadable.clone())?;
    if text.is_ascii() || flags & UTF8 != 0 {
        Ok(text)
    } else {
        Err(unreadable)
    }
}

fn extra_fields(extra: &[u8]) -> Result<(), ArchiveError> {
    let mut rest = Cursor(extra);
    while !rest.0.is_empty() {
        let (kind, length) = (rest.u16()?, rest.u16()?);
        let field = rest.take(length.into())?;
        if !EXTRA.contains(&kind) || field.len() > LONGEST_EXTRA {
            return Err(ArchiveError::Form(
                "it is in ZIP64, or says more of a file than its time and owner",
            ));
        }
    }
    Ok(())
}

/// What has not been read yet; numbers have their lowest byte first.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ArchiveError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ArchiveError::Form("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, ArchiveError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, ArchiveError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A length or a place. What is too large for this machine is past the end of the archive too.
    fn size(&mut self) -> Result<usize, ArchiveError> {
        usize::try_from(self.u32()?).map_err(|_| ArchiveError::Long)
    }
}

/// An archive of `files`, in their order.
pub(super) fn write(files: &[(&str, &[u8])]) -> Result<Vec<u8>, ArchiveError> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        let deflated = encoder
            .write_all(content)
            .and_then(|()| encoder.finish())
            .expect("memory takes what is written");
        let smaller = deflated.len() < content.len();
        let (method, packed) = if smaller {
            (8_u16, deflated.as_slice())
        } else {
            (0, *content)
        };
        let mut crc = Crc::new();
        crc.update(content);
        let flags = if name.is_ascii() { 0 } else { UTF8 };
        let length = u16::try_from(name.len()).map_err(|_| ArchiveError::Long)?;
        // What header and record have in common: from the version that is needed to the length of extra fields.
        let common = [
            &20_u16.to_le_bytes()[..],
            &flags.to_le_bytes(),
            &method.to_le_bytes(),
            &MOMENT,
            &crc.sum().to_le_bytes(),
            &long(packed.len())?,
            &long(content.len())?,
            &length.to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        directory.extend(RECORD.to_le_bytes());
        directory.extend(20_u16.to_le_bytes());
        directory.extend(&common);
        // No comment, first part, no attributes.
        directory.extend([0; 10]);
        directory.extend(long(archive.len())?);
        directory.extend(name.as_bytes());
        archive.extend(HEADER.to_le_bytes());
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(packed);
    }
    let count = u16::try_from(files.len())
        .map_err(|_| ArchiveError::Long)?
        .to_le_bytes();
    let (start, length) = (long(archive.len())?, long(directory.len())?);
    archive.extend(directory);
    archive.extend(END.to_le_bytes());
    archive.extend([0; 4]);
    archive.extend(count);
    archive.extend(count);
    archive.extend(length);
    archive.extend(start);
    archive.extend([0; 2]);
    Ok(archive)
}

fn long(length: usize) -> Result<[u8; 4], ArchiveError> {
    Ok(u32::try_from(length)
        .map_err(|_| ArchiveError::Long)?
        .to_le_bytes())
}
