//! A layout of the input's own against the slow reference: whatever `check`
//! lets through must cut, decode and encode as its table says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::protocol::frame::{Counts, Endian, Field, Layout, Length};
use reference::{Format, Number, compare};

const WIDTHS: [usize; 8] = [1, 2, 3, 4, 8, 2, 4, 5];

fuzz_target!(|input: &[u8]| {
    let Some((head, stream)) = input.split_first_chunk::<16>() else {
        return;
    };
    let format = format(head);
    let layout = layout(&format);
    if layout.check().is_ok() {
        compare(&layout, &format, u64::from(head[15]), stream);
    }
});

fn format(head: &[u8; 16]) -> Format {
    let number = |at: usize, bytes: usize| Number {
        offset: usize::from(head[at] & 31),
        bytes,
        little: head[at] & 32 != 0,
    };
    let width = |at: usize| WIDTHS[usize::from(head[at] & 7)];
    let optional = |bit: u8, number: Number| (head[0] & bit != 0).then_some(number);
    let adjust = match head[0] & 0xC0 {
        0 => 0,
        0x40 => i64::from(i8::from_be_bytes([head[7]])),
        0x80 => i64::from(head[7]) << 24,
        _ => i64::from_be_bytes([head[7], 0, 0, 0, 0, 0, 0, head[8]]),
    };
    let max = [head[8], head[9], head[10]].map(usize::from);
    Format {
        length: number(1, width(2)),
        all: head[0] & 1 != 0,
        adjust,
        id: optional(2, number(3, width(4))),
        sequence: optional(4, number(5, width(11))),
        crc: optional(8, number(6, 4)),
        header: usize::from(u16::from_be_bytes([head[12] & 1, head[13]])),
        max: match head[14] & 3 {
            0 => max[2],
            1 => max[1] << 8 | max[2],
            2 => max[0] << 16 | max[1] << 8 | max[2],
            _ => usize::MAX - max[2],
        },
    }
}

fn layout(format: &Format) -> Layout {
    let field = |number: Number| Field {
        offset: number.offset,
        bytes: number.bytes,
        endian: if number.little {
            Endian::Little
        } else {
            Endian::Big
        },
    };
    Layout {
        length: Length {
            field: field(format.length),
            counts: if format.all {
                Counts::All
            } else {
                Counts::Body
            },
            adjust: format.adjust,
        },
        id: format.id.map(field),
        sequence: format.sequence.map(field),
        crc: format.crc.map(field),
        header: format.header,
        max: format.max,
        heartbeat: None,
        error_id: None,
    }
}
