// A table of any length: only the rows in view exist, the next page is loaded before its rows are reached.
// Keys: up and down move, Home and End jump, Enter opens, x selects.
import { Checkbox, Spinner } from "@fluentui/react-components";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Pages } from "../lib/api";
import { useMedia } from "../lib/hooks";
import { usePosition } from "../lib/positions";
import { S } from "../strings";
import { ErrorLine, ErrorState, Loading, OldDataLine } from "./states";

export interface Column<T> {
  id: string;
  header: string;
  /** A track of CSS grid: `minmax(10rem, 2fr)`. */
  width: string;
  cell: (row: T) => ReactNode;
  /** `main` stands first on a small screen, `wide` is left out there. */
  on?: "main" | "wide";
  end?: boolean;
}

interface Props<T> {
  label: string;
  pages: Pages<T>;
  columns: Column<T>[];
  rowId: (row: T) => string;
  rowName: (row: T) => string;
  onOpen?: (row: T) => void;
  /** Left out: every row opens. */
  opens?: (row: T) => boolean;
  /** The row whose details are shown. */
  openId?: string;
  selection?: { ids: ReadonlySet<string>; toggle: (id: string) => void; selectable?: (row: T) => boolean };
  empty: ReactNode;
  /** Height of the part that scrolls. */
  height?: string;
}

const ROW_PX = 44;
const NARROW_LINE_PX = 22;
const OVERSCAN_ROWS = 12;
/** The next page is asked for when so few loaded rows are left below. */
const AHEAD_ROWS = 30;

export function DataTable<T>(props: Props<T>) {
  const { pages, empty } = props;
  const { query, rows } = pages;
  if (query.isPending) return <Loading lines={8} tall />;
  if (query.error && rows.length === 0) return <ErrorState error={query.error} retry={() => void query.refetch()} />;
  if (rows.length === 0) return <>{empty}</>;
  return (
    <>
      {query.error && !query.isFetchNextPageError ? <OldDataLine retry={() => void query.refetch()} /> : null}
      <Grid {...props} />
    </>
  );
}

function Grid<T>({ label, pages, columns, rowId, rowName, onOpen, opens, openId, selection, height }: Props<T>) {
  const { query, rows, more } = pages;
  const narrow = useMedia("(max-width: 640px)");
  const shown = narrow ? columns.filter((c) => c.on !== "wide") : columns;
  const rowPx = narrow ? NARROW_LINE_PX * shown.length + 20 : ROW_PX;
  const scroller = useRef<HTMLDivElement>(null);
  const [left, remember] = usePosition(label);
  const [active, setActive] = useState(left?.active ?? 0);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowPx,
    overscan: OVERSCAN_ROWS,
    initialOffset: left?.top ?? 0,
  });
  useEffect(() => virtual.measure(), [rowPx, virtual]);
  const top = virtual.scrollOffset ?? 0;
  useEffect(() => remember({ top, active }), [remember, top, active]);
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last + AHEAD_ROWS >= rows.length && query.hasNextPage && !query.isFetchNextPageError) more();
  });
  const tracks = (selection ? "2.25rem " : "") + shown.map((c) => c.width).join(" ");

  // A row far away exists only once it was scrolled to, some renderings later.
  const wanted = useRef<number | undefined>(undefined);
  const giveFocus = () => {
    if (wanted.current === undefined) return;
    const target = scroller.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"]`);
    if (!target) return;
    wanted.current = undefined;
    target.focus();
  };
  useEffect(giveFocus);

  const isOpenable = (row: T) => Boolean(onOpen) && (opens?.(row) ?? true);
  const open = (row: T) => {
    if (isOpenable(row)) onOpen?.(row);
  };
  const go = (index: number) => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    setActive(to);
    virtual.scrollToIndex(to);
    wanted.current = to;
    scroller.current?.focus({ preventScroll: true }); // meanwhile the keys go on working
    giveFocus();
  };
  const onKey = (event: KeyboardEvent, row: T, index: number) => {
    if (event.target !== event.currentTarget || event.altKey || event.ctrlKey || event.metaKey) return;
    const moves: Record<string, () => void> = {
      ArrowDown: () => go(index + 1),
      ArrowUp: () => go(index - 1),
      PageDown: () => go(index + 10),
      PageUp: () => go(index - 10),
      Home: () => go(0),
      End: () => go(rows.length - 1),
      Enter: () => open(row),
      x: () => selection && (selection.selectable?.(row) ?? true) && selection.toggle(rowId(row)),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  };

  const focusable = Math.min(active, rows.length - 1);
  const rendered = items.some((item) => item.index === focusable) ? focusable : items[0]?.index;
  return (
    <div className="table">
      <div ref={scroller} className="table-scroll" tabIndex={-1} onKeyDown={(event) => onKey(event, rows[focusable] as T, focusable)} style={{ maxHeight: height ?? "calc(100vh - 17rem)" }}>
        <div role="grid" aria-label={label} aria-rowcount={query.hasNextPage ? -1 : rows.length + 1} className={narrow ? "table-narrow" : undefined}>
          <div role="rowgroup" className="table-head-group">
            <div role="row" aria-rowindex={1} className={narrow ? "visually-hidden" : "table-row table-head"} style={{ gridTemplateColumns: tracks }}>
              {selection && (
                <span role="columnheader">
                  <span className="visually-hidden">{S.table.select("")}</span>
                </span>
              )}
              {shown.map((c) => (
                <span role="columnheader" key={c.id} className={c.end ? "end" : undefined}>
                  {c.header}
                </span>
              ))}
            </div>
          </div>
          <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
            {items.map((item) => {
              const row = rows[item.index] as T;
              const id = rowId(row);
              const selectable = selection?.selectable?.(row) ?? true;
              return (
                <div
                  role="row"
                  key={id}
                  data-index={item.index}
                  aria-rowindex={item.index + 2}
                  aria-selected={selection ? selection.ids.has(id) : openId === id}
                  tabIndex={item.index === rendered ? 0 : -1}
                  className={`table-row${openId === id ? " table-row-open" : ""}${isOpenable(row) ? " table-row-link" : ""}`}
                  style={{ gridTemplateColumns: narrow ? (selection ? "2.25rem 1fr" : "1fr") : tracks, height: item.size, transform: `translateY(${item.start}px)` }}
                  onClick={() => {
                    setActive(item.index);
                    open(row);
                  }}
                  onFocus={() => setActive(item.index)}
                  onKeyDown={(event) => onKey(event, row, item.index)}
                >
                  {selection && (
                    <span role="gridcell" className="table-check" onClick={(event) => event.stopPropagation()}>
                      <Checkbox
                        aria-label={S.table.select(rowName(row))}
                        checked={selection.ids.has(id)}
                        disabled={!selectable}
                        tabIndex={-1}
                        onChange={() => selection.toggle(id)}
                      />
                    </span>
                  )}
                  {narrow ? (
                    <span role="gridcell" className="table-card">
                      {[...shown].sort((a, b) => Number(b.on === "main") - Number(a.on === "main")).map((c) => (
                        <span key={c.id} className={c.on === "main" ? "cell strong" : "cell"}>
                          {c.cell(row)}
                        </span>
                      ))}
                    </span>
                  ) : (
                    shown.map((c) => (
                      <span role="gridcell" key={c.id} className={c.end ? "cell end" : "cell"}>
                        {c.cell(row)}
                      </span>
                    ))
                  )}
                </div>
              );
            })}
          </div>
        </div>
      </div>
      {query.isFetchNextPageError && <ErrorLine error={query.error} retry={more} />}
      <div className="table-foot quiet">
        <span aria-live="polite">{S.table.rows(rows.length, Boolean(query.hasNextPage))}</span>
        {query.isFetchingNextPage && <Spinner size="extra-tiny" label={S.table.loadingMore} />}
        <span className="table-hint">{selection ? S.table.hintSelect : onOpen ? S.table.hint : S.table.hintRead}</span>
      </div>
    </div>
  );
}
