// What the navigation shows, by permission: one line per place to go.
import {
  ArrowSyncRegular,
  BeakerRegular,
  DocumentArrowLeftRegular,
  HomeRegular,
  MailInboxRegular,
  MegaphoneRegular,
  PeopleRegular,
  SearchInfoRegular,
  SendClockRegular,
  SettingsRegular,
  ShieldCheckmarkRegular,
  ShieldErrorRegular,
  ShieldRegular,
  WarningRegular,
} from "@fluentui/react-icons";
import type { ReactNode } from "react";
import { NavLink } from "react-router";
import { type Permission, useMay, useMe } from "../lib/session";
import { S } from "../strings";

interface Item {
  to: string;
  word: string;
  needs: Permission;
  icon: ReactNode;
  /** Only for accounts that are a person with a mailbox. */
  person?: boolean;
}

const GROUPS: { word?: string; items: Item[] }[] = [
  {
    items: [
      { to: "/", word: S.nav.home, needs: "own", icon: <HomeRegular /> },
      { to: "/campaigns", word: S.nav.campaigns, needs: "campaign.read", icon: <MegaphoneRegular /> },
      { to: "/people", word: S.nav.people, needs: "people.read", icon: <PeopleRegular /> },
      { to: "/incidents", word: S.nav.incidents, needs: "incident.read", icon: <WarningRegular /> },
    ],
  },
  {
    word: S.nav.protection,
    items: [
      { to: "/quarantine", word: S.nav.quarantine, needs: "quarantine.read", icon: <ShieldErrorRegular /> },
      { to: "/trace", word: S.nav.trace, needs: "trace.read", icon: <SearchInfoRegular /> },
      { to: "/changes", word: S.nav.changes, needs: "protection.read", icon: <BeakerRegular /> },
      { to: "/allow-block", word: S.nav.lists, needs: "protection.read", icon: <ShieldCheckmarkRegular /> },
      { to: "/queue", word: S.nav.queue, needs: "queue.read", icon: <SendClockRegular /> },
      { to: "/reports", word: S.nav.reports, needs: "trace.read", icon: <DocumentArrowLeftRegular /> },
      { to: "/jobs", word: S.nav.jobs, needs: "protection.read", icon: <ArrowSyncRegular /> },
    ],
  },
  {
    word: S.nav.mail,
    items: [
      { to: "/mail", word: S.nav.mail, needs: "mailbox.own", icon: <MailInboxRegular />, person: true },
      { to: "/my-quarantine", word: S.nav.myQuarantine, needs: "quarantine.own", icon: <ShieldRegular />, person: true },
    ],
  },
  { word: "", items: [{ to: "/settings", word: S.nav.settings, needs: "settings.read", icon: <SettingsRegular /> }] },
];

export function Navigation({ onGo }: { onGo?: () => void }) {
  const may = useMay();
  const me = useMe();
  const groups = GROUPS.map((group) => ({
    ...group,
    items: group.items.filter((item) => may(item.needs) && (!item.person || me.person_id)),
  })).filter((group) => group.items.length > 0);
  return (
    <nav aria-label={S.nav.label}>
      {groups.map((group) => (
        <div key={group.items[0]?.to}>
          {group.word !== undefined && <div className="nav-group">{group.word}</div>}
          {group.items.map((item) => (
            <NavLink key={item.to} to={item.to} end={item.to === "/"} className="nav-link" onClick={onGo}>
              {item.icon}
              {item.word}
            </NavLink>
          ))}
        </div>
      ))}
    </nav>
  );
}
