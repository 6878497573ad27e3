// Lists of people: which there are, who is on one, and making one without a file: of everybody who matches, or of people one picks.
import { Button, Checkbox, Dialog, DialogActions, DialogBody, DialogContent, DialogSurface, DialogTitle, Field, Input, Radio, RadioGroup, Select } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { GuardedButton, useAction } from "../components/actions";
import { Section } from "../components/Page";
import { ReturnFocus } from "../components/ReturnFocus";
import { ErrorLine, Loaded, Loading } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { count } from "../lib/format";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Person = Schemas["Person"];
type PeopleList = Schemas["PeopleList"];
type Facets = Schemas["PeopleFacets"];
export type Match = Schemas["PeopleMatch"];
export const FACETS = ["department", "city", "language"] as const;
export type FacetName = (typeof FACETS)[number];
const T = S.people;
/** So many are found at a time while one picks. */
const FOUND = 20;
/** The server takes so many named people at once. */
const PICKED_MAX = 10_000;
/** Departments come and go slowly. */
const FACETS_FRESH_MS = 60_000;

const loadLists = () => call(api.GET("/api/v1/lists"));
const loadFacets = (match: Partial<Match>) =>
  call(api.GET("/api/v1/people/facets", { params: { query: Object.fromEntries(Object.entries(match).filter(([, value]) => value)) } }));
const find = (query: string) => call(api.GET("/api/v1/people", { params: { query: { query, limit: FOUND } } }));

export const useLists = () => useQuery({ queryKey: ["lists"], queryFn: loadLists });
export const useFacets = (match: Partial<Match> = {}, enabled = true) =>
  useQuery({ queryKey: ["people", "facets", match], queryFn: () => loadFacets(match), placeholderData: (before) => before, staleTime: FACETS_FRESH_MS, enabled });

interface ListsProps {
  chosen: string;
  choose: (id: string | undefined) => void;
}

export function Lists({ chosen, choose }: ListsProps) {
  const lists = useLists();
  const may = useMay();
  const [making, setMaking] = useState(false);
  const make = may("people.write") && (
    <Button size="small" onClick={() => setMaking(true)}>
      {T.newList}
    </Button>
  );
  return (
    <Section title={T.lists} aside={make}>
      <Loaded query={lists} part loading={<Loading lines={1} />}>
        {(all) =>
          all.length === 0 ? (
            <p className="quiet">{make ? T.noLists : T.noListsRead}</p>
          ) : (
            <ul className="row lists">
              {all.map((list) => (
                <li key={list.id}>
                  <button type="button" className="tile" aria-pressed={list.id === chosen} onClick={() => choose(list.id === chosen ? undefined : list.id)}>
                    <span className="strong">{list.name}</span>
                    <span className="quiet">{T.members(list.member_count)}</span>
                  </button>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
      {making && <NewListDialog lists={lists.data ?? []} onClose={() => setMaking(false)} onMade={choose} />}
    </Section>
  );
}

interface DialogProps {
  lists: PeopleList[];
  onClose: () => void;
  onMade: (id: string) => void;
}

function NewListDialog({ lists, onClose, onMade }: DialogProps) {
  const [name, setName] = useState("");
  const [how, setHow] = useState<"matching" | "picked">("matching");
  const [match, setMatch] = useState<Match>({ query: "", department: "", city: "", language: "" });
  const [picked, setPicked] = useState<Person[]>([]);
  const facets = useFacets(match, how === "matching");
  const known = lists.find((list) => list.name === name.trim());
  const n = how === "picked" ? picked.length : (facets.data?.total_count ?? 0);
  const who = how === "picked" ? { person_ids: picked.map((p) => p.id) } : { matching: match };
  const body = { name: name.trim(), ...who };
  const make = useAction(
    async () => {
      const made = await call(api.POST("/api/v1/lists", { body }));
      onMade(made.id);
      onClose();
      return T.listMade(made.name, made.member_count);
    },
    { typed: body },
  );
  return (
    <Dialog open onOpenChange={(_, data) => !data.open && onClose()}>
      <DialogSurface>
        <ReturnFocus />
        <DialogBody>
          <DialogTitle>{T.newListTitle}</DialogTitle>
          <DialogContent className="dialog-content">
            <Field label={T.listName} required hint={known && T.listExists(known.member_count)}>
              <Input value={name} maxLength={200} onChange={(_, data) => setName(data.value)} />
            </Field>
            <Field label={T.who}>
              <RadioGroup layout="horizontal" value={how} onChange={(_, data) => setHow(data.value as typeof how)}>
                <Radio value="matching" label={T.whoMatching} />
                <Radio value="picked" label={T.whoPicked} />
              </RadioGroup>
            </Field>
            {how === "matching" ? <Matching match={match} set={setMatch} facets={facets.data} /> : <Picking picked={picked} set={setPicked} />}
            {facets.error && how === "matching" ? <ErrorLine error={facets.error} retry={() => void facets.refetch()} /> : null}
            {make.error ? <ErrorLine error={make.error} /> : null}
          </DialogContent>
          <DialogActions>
            <Button onClick={onClose}>{S.cancel}</Button>
            <GuardedButton appearance="primary" busy={make.isPending} blocked={!name.trim() ? T.listNoName : n === 0 ? T.listNobody : undefined} onClick={() => make.mutate()}>
              {make.isPending ? S.confirm.busy : T.makeList(n)}
            </GuardedButton>
          </DialogActions>
        </DialogBody>
      </DialogSurface>
    </Dialog>
  );
}

function Matching({ match, set, facets }: { match: Match; set: (match: Match) => void; facets?: Facets }) {
  const all = useFacets();
  return (
    <>
      <Field label={T.filter}>
        <Input value={match.query} onChange={(_, data) => set({ ...match, query: data.value })} />
      </Field>
      <div className="form-pair">
        {FACETS.map((name) => (
          <FacetSelect key={name} name={name} value={match[name] ?? ""} facets={all.data} onChoose={(value) => set({ ...match, [name]: value })} />
        ))}
      </div>
      {facets && (
        <p role="status">
          <strong>{T.matches(facets.total_count)}</strong>
        </p>
      )}
    </>
  );
}

export function FacetSelect({ name, value, facets, onChoose }: { name: FacetName; value: string; facets?: Facets; onChoose: (value: string) => void }) {
  const values = facets?.[name] ?? [];
  if (values.length === 0 && !value) return null;
  return (
    <Field label={T[name]}>
      <Select value={value} onChange={(_, data) => onChoose(data.value)}>
        <option value="">{T.any}</option>
        {value && !values.some((v) => v.value === value) && <option value={value}>{value}</option>}
        {values.map((v) => (
          <option key={v.value} value={v.value}>
            {`${v.label} (${count(v.count)})`}
          </option>
        ))}
      </Select>
    </Field>
  );
}

function Picking({ picked, set }: { picked: Person[]; set: (picked: Person[]) => void }) {
  const [text, setText] = useState("");
  const query = text.trim();
  const found = useQuery({ queryKey: ["people", "pick", query], queryFn: () => find(query), enabled: query !== "", placeholderData: (before) => before });
  const toggle = (person: Person) => {
    const without = picked.filter((p) => p.id !== person.id);
    if (without.length < picked.length) set(without);
    else if (picked.length < PICKED_MAX) set([...picked, person]);
  };
  return (
    <>
      <Field label={T.pick} hint={T.pickHint}>
        <Input value={text} onChange={(_, data) => setText(data.value)} />
      </Field>
      {found.error ? <ErrorLine error={found.error} retry={() => void found.refetch()} /> : null}
      {query && found.data && (
        <div className="picks" role="group" aria-label={T.pick}>
          {found.data.items.length === 0 && <p className="quiet">{T.nobody}</p>}
          {found.data.items.map((person) => (
            <Checkbox key={person.id} label={`${person.name} · ${person.address}`} checked={picked.some((p) => p.id === person.id)} onChange={() => toggle(person)} />
          ))}
        </div>
      )}
      {picked.length > 0 && (
        <div className="row" role="status">
          <strong>{T.picked(picked.length)}</strong>
          {picked.slice(0, FOUND).map((person) => (
            <Button key={person.id} size="small" aria-label={T.unpick(person.name)} onClick={() => toggle(person)}>
              {person.name} ✕
            </Button>
          ))}
        </div>
      )}
    </>
  );
}
