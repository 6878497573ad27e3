//! What is about to be stored, before it is a submission of the store: two of them can still become one, so that a mail to
//! people here and elsewhere is stored for all of them or for none.

use bytes::Bytes;
use store::{BodyRef, Op, Submission};

type OpsOf = Box<dyn Fn(&[BodyRef]) -> Vec<Op> + Send + Sync>;

/// Bodies, and the rows that may name where they went.
pub(crate) struct Writing {
    bodies: Vec<Bytes>,
    ops: OpsOf,
}

impl Writing {
    /// One body and its rows.
    pub(crate) fn with_body(body: Bytes, ops: impl Fn(&BodyRef) -> Vec<Op> + Send + Sync + 'static) -> Self {
        Writing::with_bodies(vec![body], move |places| ops(&places[0]))
    }

    /// Many bodies and their rows.
    pub(crate) fn with_bodies(bodies: Vec<Bytes>, ops: impl Fn(&[BodyRef]) -> Vec<Op> + Send + Sync + 'static) -> Self {
        Writing { bodies, ops: Box::new(ops) }
    }

    /// Rows alone.
    pub(crate) fn rows(ops: Vec<Op>) -> Self {
        Writing { bodies: Vec::new(), ops: Box::new(move |_| ops.clone()) }
    }

    /// Both, or nothing of either.
    pub(crate) fn and(mut self, other: Writing) -> Self {
        let (mine, first, second) = (self.bodies.len(), self.ops, other.ops);
        self.bodies.extend(other.bodies);
        let ops = move |places: &[BodyRef]| {
            let (own, others) = places.split_at(mine);
            let mut ops = first(own);
            ops.extend(second(others));
            ops
        };
        Writing { bodies: self.bodies, ops: Box::new(ops) }
    }

    /// For the store's group commit.
    pub(crate) fn submission(self) -> Submission {
        Submission::with_bodies(self.bodies, self.ops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pack_id: i64) -> BodyRef {
        BodyRef { pack_id, offset: 0, bytes: 1, sha256: String::new() }
    }

    fn named(writing: &Writing, places: &[BodyRef]) -> Vec<String> {
        let ops = (writing.ops)(places);
        ops.iter().map(|op| format!("{op:?}")).collect()
    }

    #[test]
    fn each_learns_the_place_of_its_own_body() {
        let of = |name: &'static str| {
            Writing::with_body(Bytes::from_static(b"x"), move |place| {
                vec![Op::Insert(name, store::values![place.pack_id].to_vec())]
            })
        };
        let rows = Writing::rows(vec![Op::Execute("rows", Vec::new())]);
        let all = of("first").and(rows).and(of("second"));
        assert_eq!(all.bodies.len(), 2);
        let said = named(&all, &[place(7), place(8)]);
        assert_eq!(said.len(), 3);
        assert!(said[0].contains("first") && said[0].contains('7'), "{said:?}");
        assert!(said[1].contains("rows"), "{said:?}");
        assert!(said[2].contains("second") && said[2].contains('8'), "{said:?}");
    }
}
