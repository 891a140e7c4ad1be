//! Shares, values and payloads of elements.

use super::{Span, payload_bytes, render};
use proptest::prelude::*;

proptest! {
    #[test]
    fn shares_are_the_whole_and_in_turn(
        from in 0u64..1_000, step in 1u64..9, count in 1u64..200, of in 1u64..9,
    ) {
        let span = Span { from, step, count };
        let shares: Vec<Span> = (0..of).map(|share| span.share(share, of)).collect();
        prop_assert_eq!(shares.iter().map(|s| s.count).sum::<u64>(), count);
        for k in 0..count {
            let share = shares[usize::try_from(k % of).expect("small")];
            prop_assert_eq!(share.value(k / of), span.value(k));
            prop_assert_eq!(share.place(span.value(k)), Some(k / of));
        }
        prop_assert_eq!(span.place(span.value(count)), None);
        prop_assert_eq!(span.place(from + 1), (step == 1 && count > 1).then_some(1));
    }

    #[test]
    fn the_length_of_a_payload_is_known_before(text in "[ab{i}]{0,40}", value: u64) {
        let rendered = render(text.as_bytes(), value);
        prop_assert_eq!(rendered.len() as u64, payload_bytes(text.as_bytes(), value));
        let wanted = text.replace("{i}", &value.to_string());
        prop_assert_eq!(String::from_utf8(rendered).expect("text"), wanted);
    }
}
