// A recipient's own mail: folders, messages, one message. What a recipient needs and nothing else.
import { Button, Menu, MenuItem, MenuList, MenuPopover, MenuTrigger, MessageBar, MessageBarBody, MessageBarTitle } from "@fluentui/react-components";
import { ArchiveRegular, DeleteRegular, DocumentRegular, FlagFilled, FlagRegular, FolderRegular, MailInboxRegular, MailProhibitedRegular, SendRegular } from "@fluentui/react-icons";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "react-router";
import { When } from "../components/Age";
import { ConfirmDialog, useAction } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Page as Frame } from "../components/Page";
import { Sandbox } from "../components/Sandbox";
import { SidePanel } from "../components/SidePanel";
import { EmptyState, ErrorLine, Loaded, Loading } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { count, sentence, size } from "../lib/format";
import { useUrlState } from "../lib/hooks";
import { S } from "../strings";

type Folder = Schemas["Folder"];
type Item = Schemas["MailItem"];
type Mail = Schemas["Mail"];
const T = S.mail;

const at = (id: string) => ({ params: { path: { id } } });
const loadOwn = () => call(api.GET("/api/v1/mailbox"));
const loadFolders = () => call(api.GET("/api/v1/mailbox/folders"));
const load = (id: string) => (page: PageOf) => call(api.GET("/api/v1/mailbox/folders/{id}/items", { params: { path: { id }, query: page } }));
const loadMail = (id: string) => call(api.GET("/api/v1/mailbox/items/{id}", at(id)));
const flag = (id: string, flags: Schemas["MailFlags"]) => call(api.PATCH("/api/v1/mailbox/items/{id}", { ...at(id), body: flags }));

const ICON: Record<string, ReactNode> = {
  inbox: <MailInboxRegular />,
  junk: <MailProhibitedRegular />,
  sent: <SendRegular />,
  archive: <ArchiveRegular />,
  trash: <DeleteRegular />,
  drafts: <DocumentRegular />,
};
const ROLE_ORDER = ["inbox", "junk", "sent", "drafts", "archive", "", "trash"];
const folderName = (folder: Folder) => T.folderRole[folder.role] ?? folder.name;

const COLUMNS: Column<Item>[] = [
  { id: "from", header: S.from, width: "minmax(7rem, 1fr)", cell: (m) => <Cell item={m}>{m.from_name || m.from_address}</Cell> },
  { id: "subject", header: S.subject, width: "minmax(9rem, 2fr)", on: "main", cell: (m) => <Subject item={m} /> },
  { id: "at", header: S.when, width: "7rem", cell: (m) => <When at={m.internal_at} /> },
];

const Cell = ({ item, children }: { item: Item; children: ReactNode }) => <span className={item.seen ? undefined : "unseen"}>{children}</span>;

function Subject({ item }: { item: Item }) {
  return (
    <Cell item={item}>
      {!item.seen && <span className="visually-hidden">{T.unread} </span>}
      {item.flagged && <FlagFilled aria-label={T.flagged} className="flag" />}
      {item.subject || T.noSubject}
    </Cell>
  );
}

export function Page() {
  const own = useQuery({ queryKey: ["mailbox", "own"], queryFn: loadOwn });
  return (
    <Frame title={T.title}>
      <Loaded query={own} loading={<Loading lines={8} tall />}>
        {(mailbox) => (
          <>
            {mailbox.kept_by && <Elsewhere mailbox={mailbox} system={mailbox.kept_by} />}
            {(!mailbox.kept_by || mailbox.item_count > 0) && <Folders />}
          </>
        )}
      </Loaded>
    </Frame>
  );
}

function Folders() {
  const [url] = useUrlState();
  const folders = useQuery({ queryKey: ["mailbox", "folders"], queryFn: loadFolders });
  return (
    <Loaded query={folders} loading={<Loading lines={8} tall />}>
      {(list) => {
        const sorted = [...list].sort((a, b) => ROLE_ORDER.indexOf(a.role) - ROLE_ORDER.indexOf(b.role) || a.name.localeCompare(b.name));
        const open = sorted.find((f) => f.id === url("folder")) ?? sorted[0];
        return open ? <Mailbox folders={sorted} folder={open} /> : <EmptyState title={T.emptyTitle} detail={T.emptyDetail} />;
      }}
    </Loaded>
  );
}

/** Another system keeps the mailbox: where the mail is, what waits on the way there, and what is still here. */
function Elsewhere({ mailbox: m, system }: { mailbox: Schemas["OwnMailbox"]; system: string }) {
  return (
    <>
      <section className="card" aria-label={T.elsewhereTitle(system)}>
        <h2>{T.elsewhereTitle(system)}</h2>
        <p>{T.elsewhereText(m.address)}</p>
        <p>
          <Link to="/my-quarantine">{T.elsewhereHeld}</Link>
        </p>
        {m.item_count > 0 && <p className="quiet">{T.elsewhereOld(system)}</p>}
      </section>
      {m.waiting_count > 0 && (
        <MessageBar intent={m.answers === false ? "warning" : "info"} layout="multiline">
          <MessageBarBody>
            <MessageBarTitle>{T.elsewhereWaiting(m.waiting_count)}</MessageBarTitle>
            {m.answers === false ? T.elsewhereSilent : T.elsewhereBusy}
            {m.waiting_since && (
              <>
                {" "}
                {sentence(S.connectors.waitingSince)} <When at={m.waiting_since} />.
              </>
            )}
          </MessageBarBody>
        </MessageBar>
      )}
    </>
  );
}

function Mailbox({ folders, folder }: { folders: Folder[]; folder: Folder }) {
  const [url, setUrl] = useUrlState();
  const openId = url("message");
  const pages = usePages<Item>(["mailbox", "items", folder.id], load(folder.id));
  return (
    <div className={openId ? "split mail-open" : "split mail-split"}>
      <nav aria-label={T.folders} className="facet">
        {folders.map((f) => (
          <button key={f.id} type="button" aria-pressed={f.id === folder.id} onClick={() => setUrl({ folder: f.id, message: undefined })}>
            <span className="row tight nowrap">
              {ICON[f.role] ?? <FolderRegular />}
              {folderName(f)}
            </span>
            {f.unseen_count > 0 && <span aria-label={`${count(f.unseen_count)} ${T.unread}`}>{count(f.unseen_count)}</span>}
          </button>
        ))}
      </nav>
      <DataTable
        key={folder.id}
        label={`${T.messages}, ${folderName(folder)}`}
        pages={pages}
        columns={openId ? COLUMNS.filter((c) => c.id !== "from") : COLUMNS}
        rowId={(m) => m.id}
        rowName={(m) => m.subject}
        onOpen={(m) => setUrl({ message: m.id })}
        openId={openId}
        height="calc(100vh - 14rem)"
        empty={<EmptyState title={T.emptyTitle} detail={T.emptyDetail} />}
      />
      {openId && <Reading key={openId} id={openId} folders={folders} onClose={() => setUrl({ message: undefined })} />}
    </div>
  );
}

function Reading({ id, folders, onClose }: { id: string; folders: Folder[]; onClose: () => void }) {
  const mail = useQuery({ queryKey: ["mailbox", "one", id], queryFn: () => loadMail(id) });
  const seen = useAction(async () => {
    await flag(id, { seen: true });
  });
  const unseen = mail.data && !mail.data.seen;
  const [marked, setMarked] = useState(false);
  useEffect(() => {
    if (!unseen || marked) return; // opening marks it as read once; marking it unread again is the reader's word
    setMarked(true);
    seen.mutate();
  }, [unseen, marked, seen]);
  return (
    <SidePanel title={mail.data?.subject || (mail.data ? T.noSubject : T.body)} onClose={onClose}>
      <Loaded query={mail} part>
        {(m) => <Message mail={m} folders={folders} onClose={onClose} />}
      </Loaded>
    </SidePanel>
  );
}

function Message({ mail, folders, onClose }: { mail: Mail; folders: Folder[]; onClose: () => void }) {
  const [pictures, setPictures] = useState(false);
  return (
    <>
      <div className="row between">
        <span>
          <strong>{mail.from_name || mail.from_address}</strong> <span className="quiet">&lt;{mail.from_address}&gt;</span>
          <br />
          <span className="quiet">
            {S.to} {mail.to.join(", ")}
          </span>
        </span>
        <When at={mail.internal_at} />
      </div>
      <MailButtons mail={mail} folders={folders} onClose={onClose} />
      {mail.safety_tip && (
        <MessageBar intent="warning" layout="multiline">
          <MessageBarBody>{mail.safety_tip}</MessageBarBody>
        </MessageBar>
      )}
      {mail.html ? (
        <>
          {!pictures && mail.html.includes("<img") && (
            <div className="row">
              <Button size="small" onClick={() => setPictures(true)}>
                {T.pictures}
              </Button>
              <span className="quiet">{T.picturesHint}</span>
            </div>
          )}
          <iframe
            className="frame"
            title={T.body}
            sandbox="allow-popups allow-popups-to-escape-sandbox"
            referrerPolicy="no-referrer"
            src={`/api/v1/mailbox/items/${mail.id}/html?pictures=${pictures}`}
            style={{ height: "60vh" }}
          />
        </>
      ) : (
        <Sandbox html="" text={mail.text} title={T.body} />
      )}
      {mail.attachments.length > 0 && (
        <>
          <h3>{T.attachments}</h3>
          <ul>
            {mail.attachments.map((file) => (
              <li key={file.name}>
                {file.name} · {size(file.size_bytes)}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function MailButtons({ mail, folders, onClose }: { mail: Mail; folders: Folder[]; onClose: () => void }) {
  const toggle = useAction(async (flags: Schemas["MailFlags"]) => {
    await flag(mail.id, flags);
  });
  const move = useAction(async (folder: Folder) => {
    await call(api.POST("/api/v1/mailbox/items/{id}/move", { ...at(mail.id), body: { folder_id: folder.id } }));
    onClose();
    return T.moved(folderName(folder));
  });
  const remove = async () => {
    await call(api.DELETE("/api/v1/mailbox/items/{id}", at(mail.id)));
    onClose();
    return T.deleted;
  };
  const inTrash = folders.find((f) => f.id === mail.folder_id)?.role === "trash";
  const failure = toggle.error ?? move.error;
  return (
    <>
      <div className="row">
        <Button size="small" icon={mail.flagged ? <FlagFilled /> : <FlagRegular />} onClick={() => toggle.mutate({ flagged: !mail.flagged })}>
          {mail.flagged ? T.unflag : T.flag}
        </Button>
        <Button size="small" onClick={() => toggle.mutate({ seen: !mail.seen })}>
          {mail.seen ? T.markUnread : T.markRead}
        </Button>
        <Menu>
          <MenuTrigger disableButtonEnhancement>
            <Button size="small">{T.moveTo}</Button>
          </MenuTrigger>
          <MenuPopover>
            <MenuList>
              {folders
                .filter((f) => f.id !== mail.folder_id)
                .map((f) => (
                  <MenuItem key={f.id} onClick={() => move.mutate(f)}>
                    {folderName(f)}
                  </MenuItem>
                ))}
            </MenuList>
          </MenuPopover>
        </Menu>
        <ConfirmDialog
          title={inTrash ? T.deleteForGoodTitle : T.deleteTitle}
          text={<p>{inTrash ? T.deleteForGoodText : T.deleteText}</p>}
          go={inTrash ? T.deleteForGood : T.delete}
          danger
          run={remove}
          trigger={(open) => (
            <Button size="small" onClick={open}>
              {T.delete}
            </Button>
          )}
        />
      </div>
      {failure ? <ErrorLine error={failure} /> : null}
    </>
  );
}
