// Details beside a list: a column on wide screens, over the page on small ones.
import { Button, DrawerBody, DrawerHeader, DrawerHeaderTitle, OverlayDrawer } from "@fluentui/react-components";
import { DismissRegular } from "@fluentui/react-icons";
import { type ReactNode, useEffect, useRef } from "react";
import { useNarrow } from "../lib/hooks";
import { S } from "../strings";
import { ReturnFocus } from "./ReturnFocus";

/** The row that the keyboard would come to. */
const ROW = '[role="row"][tabindex="0"]';

interface Props {
  title: string;
  onClose: () => void;
  children: ReactNode;
}

export function SidePanel({ title, onClose, children }: Props) {
  const narrow = useNarrow();
  const close = <Button appearance="subtle" icon={<DismissRegular />} aria-label={S.table.closeDetails} onClick={onClose} />;
  if (narrow) {
    return (
      <OverlayDrawer open position="end" size="full" onOpenChange={(_, data) => !data.open && onClose()} aria-label={title}>
        <ReturnFocus instead={ROW} />
        <DrawerHeader>
          <DrawerHeaderTitle action={close}>{title}</DrawerHeaderTitle>
        </DrawerHeader>
        <DrawerBody>
          <div className="stack">{children}</div>
        </DrawerBody>
      </OverlayDrawer>
    );
  }
  return (
    <Beside title={title} close={close} onClose={onClose}>
      {children}
    </Beside>
  );
}

function Beside({ title, close, onClose, children }: Props & { close: ReactNode }) {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const inDialog = (event.target as Element | null)?.closest?.('[role="dialog"], [role="alertdialog"], [role="menu"]');
      if (event.key === "Escape" && !inDialog) onClose();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [onClose]);
  return (
    <aside className="panel" aria-label={title} ref={panel} tabIndex={0}>
      <ReturnFocus instead={ROW} />
      <div className="panel-head">
        <h2>{title}</h2>
        {close}
      </div>
      {children}
    </aside>
  );
}
