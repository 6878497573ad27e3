// One search box for everything: a person, a campaign, a Message-ID, a URL host, an incident.
import { SearchBox as Box } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { type KeyboardEvent, useDeferredValue, useId, useState } from "react";
import { Link, useNavigate } from "react-router";
import { ErrorLine } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { S } from "../strings";

const CHARS_MIN = 2;

/** The second line in words: states, statuses and places have theirs. */
function detailOf({ kind, detail }: Schemas["SearchHit"]): string {
  const word = (words: Record<string, string>, key: string) => words[key] ?? key;
  if (kind === "campaign") return word(S.campaigns.state, detail);
  if (kind === "incident") return word(S.incidents.status, detail);
  if (kind !== "copy") return detail;
  const at = detail.lastIndexOf(", ");
  return at < 0 ? detail : `${detail.slice(0, at)} · ${word(S.place, detail.slice(at + 2))}`;
}

export function SearchBox() {
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const id = useId();
  const navigate = useNavigate();
  const q = useDeferredValue(text.trim());
  const asked = q.length >= CHARS_MIN;
  const found = useQuery({
    queryKey: ["search", q],
    queryFn: () => call(api.GET("/api/v1/search", { params: { query: { q } } })),
    enabled: asked && open,
  });
  const hits = found.data ?? [];
  const shut = () => {
    setOpen(false);
    setText("");
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") setOpen(false);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setAt((i) => Math.max(0, Math.min(hits.length - 1, i + (event.key === "ArrowDown" ? 1 : -1))));
    }
    const hit = hits[at];
    if (event.key === "Enter" && hit) {
      void navigate(hit.path);
      shut();
    }
  };
  const showing = open && asked && Boolean(found.data || found.error);
  return (
    <div className="top-search" role="search" onBlur={(event) => !event.currentTarget.contains(event.relatedTarget) && setOpen(false)}>
      <Box
        value={text}
        placeholder={S.search.placeholder}
        aria-label={S.search.label}
        role="combobox"
        aria-expanded={showing}
        aria-controls={showing ? id : undefined}
        aria-activedescendant={showing && hits[at] ? `${id}-${at}` : undefined}
        onChange={(_, data) => {
          setText(data.value);
          setOpen(true);
          setAt(0);
        }}
        onFocus={() => setOpen(true)}
        onKeyDown={onKey}
      />
      {showing && (
        <div className="results">
          {found.error ? <ErrorLine error={found.error} /> : null}
          <div role="listbox" id={id} aria-label={S.search.results(hits.length)}>
            {hits.map((hit, i) => (
              <Link key={`${hit.kind}-${hit.id}-${i}`} id={`${id}-${i}`} role="option" aria-selected={i === at} className="result" to={hit.path} onClick={shut} onMouseEnter={() => setAt(i)}>
                {hit.title}
                <small>
                  {S.search.kind[hit.kind]}
                  {hit.detail && ` · ${detailOf(hit)}`}
                </small>
              </Link>
            ))}
          </div>
          {!found.error && hits.length === 0 && <p className="result quiet">{S.search.none(q)}</p>}
        </div>
      )}
    </div>
  );
}
