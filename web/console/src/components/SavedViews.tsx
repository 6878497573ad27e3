// Views of a page that its reader saved: the filters in the address under a name, kept in this browser for this account.
import { Button, Input } from "@fluentui/react-components";
import { DismissRegular } from "@fluentui/react-icons";
import { type FormEvent, useState } from "react";
import { Link } from "react-router";
import { useMe } from "../lib/session";
import { S } from "../strings";

interface View {
  name: string;
  /** The query of the address. */
  search: string;
}

const T = S.views;
const VIEWS_MAX = 20;
const NAME_CHARS_MAX = 60;

function read(key: string): View[] {
  try {
    const found: unknown = JSON.parse(window.localStorage.getItem(key) ?? "[]");
    return Array.isArray(found) ? (found as View[]) : [];
  } catch {
    return []; // a browser that keeps nothing, or something that is not ours
  }
}

function useViews(of: string): [View[], (views: View[]) => void] {
  const me = useMe();
  const key = `landfall.views.${me.account_id}.${of}`;
  const [views, setViews] = useState(() => read(key));
  const keep = (next: View[]) => {
    setViews(next);
    try {
      window.localStorage.setItem(key, JSON.stringify(next));
    } catch {
      // as above: they last as long as the page
    }
  };
  return [views, keep];
}

/** `filters`: what is chosen now, by its names in the address. */
export function SavedViews({ of, filters }: { of: string; filters: Record<string, string> }) {
  const [views, keep] = useViews(of);
  const search = new URLSearchParams(Object.entries(filters).sort()).toString();
  const isKnown = views.some((view) => view.search === search);
  const canSave = search !== "" && !isKnown && views.length < VIEWS_MAX;
  if (views.length === 0 && !canSave) return null;
  return (
    <div className="row" role="group" aria-label={T.title}>
      {views.length > 0 && <span className="quiet">{T.title}:</span>}
      {views.map((view) => (
        <span key={view.search} className="view">
          <Link to={`?${view.search}`} aria-current={view.search === search ? "true" : undefined}>
            {view.name}
          </Link>
          <Button size="small" appearance="transparent" icon={<DismissRegular />} aria-label={T.forget(view.name)} onClick={() => keep(views.filter((other) => other !== view))} />
        </span>
      ))}
      {canSave && <Save key={search} save={(name) => keep([...views, { name, search }])} />}
    </div>
  );
}

function Save({ save }: { save: (name: string) => void }) {
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) save(name.trim());
  };
  if (!naming) {
    return (
      <Button size="small" appearance="subtle" onClick={() => setNaming(true)}>
        {T.save}
      </Button>
    );
  }
  return (
    <form className="row" onSubmit={submit}>
      <Input size="small" autoFocus value={name} maxLength={NAME_CHARS_MAX} placeholder={T.name} aria-label={T.name} onChange={(_, data) => setName(data.value)} />
      <Button size="small" type="submit">
        {S.save}
      </Button>
    </form>
  );
}
