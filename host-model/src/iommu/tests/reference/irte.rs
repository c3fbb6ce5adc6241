//! Interrupt remapping table entries: how software changes one that is in use.

use super::*;

const OLD: [u64; 2] = [5 << 8 | 1, 0x31];
const NEW: [u64; 2] = [6 << 8 | 1, 0x32];

const NOT_PRESENT: &str = "IRTE: RemapEn is 0";

/// The specification's recipe: RemapEn 0, the other fields, INVALIDATE_INTERRUPT_TABLE, RemapEn 1. An interrupt before,
/// and one after each step.
fn recipe(config: Config) -> [String; 5] {
    let rig = Rig::with(config, RUN | GA_EN);
    rig.set_irte128(3, OLD);
    let send = || send(&rig, RID, 3);
    let [low, high] = NEW;
    [
        send(),
        {
            rig.set_irte128(3, [OLD[0] & !1, OLD[1]]);
            send()
        },
        {
            rig.set_irte128(3, [low & !1, high]);
            send()
        },
        {
            rig.queue(invalidate_irt(RID));
            rig.run();
            send()
        },
        {
            rig.set_irte128(3, NEW);
            send()
        },
    ]
}

#[test]
fn the_specifications_recipe_ends_with_the_new_entry_and_never_mixes_it_with_the_old() {
    let expected = ["5:31", "5:31", "5:31", NOT_PRESENT, "6:32"];
    assert_eq!(recipe(Config::default()), expected);
}

#[test]
fn without_a_cache_the_recipe_stops_interrupts_from_its_first_step() {
    let expected = ["5:31", NOT_PRESENT, NOT_PRESENT, NOT_PRESENT, "6:32"];
    assert_eq!(recipe(uncached()), expected);
}

#[test]
fn where_entries_without_remap_en_are_cached_the_recipe_is_not_enough() {
    let config = with_policies(|p| p.cache_remap_en_clear = CacheRemapEnClear::Yes);
    assert_eq!(recipe(config)[4], NOT_PRESENT);
}

#[test]
fn an_entry_freed_low_half_first_stops_at_once_and_high_half_first_goes_astray() {
    for (halves, between) in [([0, 1], NOT_PRESENT), ([1, 0], "5:00")] {
        let rig = Rig::with(uncached(), RUN | GA_EN);
        let mut entry = OLD;
        let sent = halves.map(|half| {
            entry[half] = 0;
            rig.set_irte128(3, entry);
            send(&rig, RID, 3)
        });
        assert_eq!(sent, [between, NOT_PRESENT]);
    }
}
