// The frame of every page: search, navigation, running work, account. Whoever is not signed in is led to the door.
import {
  Button,
  DrawerBody,
  DrawerHeader,
  DrawerHeaderTitle,
  Menu,
  MenuDivider,
  MenuGroup,
  MenuGroupHeader,
  MenuItem,
  MenuItemRadio,
  MenuList,
  MenuPopover,
  MenuTrigger,
  OverlayDrawer,
} from "@fluentui/react-components";
import { DismissRegular, NavigationRegular, PersonCircleRegular } from "@fluentui/react-icons";
import { useRef, useState } from "react";
import { Link, Navigate, Outlet, useLocation, useNavigate } from "react-router";
import { ReturnFocus } from "../components/ReturnFocus";
import { ErrorState, Loading } from "../components/states";
import { problemOf } from "../lib/api";
import { useNarrow } from "../lib/hooks";
import { useLiveNews } from "../lib/live";
import { useFocusOnNewPage } from "../lib/positions";
import { MeProvider, type Permission, useMay, useMe, useMeQuery, useSignOut } from "../lib/session";
import { S } from "../strings";
import type { ThemeChoice } from "../theme";
import { BypassBanner } from "./BypassBanner";
import { JobsTray } from "./JobsTray";
import { Navigation } from "./navigation";
import { SearchBox } from "./SearchBox";

interface Props {
  theme: ThemeChoice;
  onTheme: (choice: ThemeChoice) => void;
}

/** Who may see none of these would search in vain. */
const FINDABLE: Permission[] = ["campaign.read", "people.read", "trace.read", "incident.read"];

export function Shell(props: Props) {
  const me = useMeQuery();
  const { pathname, search } = useLocation();
  if (me.data) {
    return (
      <MeProvider me={me.data}>
        <Frame {...props} />
      </MeProvider>
    );
  }
  if (!me.error) return <div className="content"><Loading /></div>;
  if (problemOf(me.error).status === 401) {
    const next = pathname === "/" ? "" : `?next=${encodeURIComponent(pathname + search)}`;
    return <Navigate to={`/sign-in${next}`} replace />;
  }
  return <div className="door"><ErrorState error={me.error} retry={() => void me.refetch()} /></div>;
}

function Frame({ theme, onTheme }: Props) {
  useLiveNews();
  const may = useMay();
  const narrow = useNarrow();
  const [menu, setMenu] = useState(false);
  const main = useRef<HTMLElement>(null);
  useFocusOnNewPage(main);
  return (
    <div className="shell">
      <a href="#content" className="skip">
        {S.skip}
      </a>
      <header className="top">
        {narrow && <Button appearance="subtle" icon={<NavigationRegular />} aria-label={S.nav.menu} onClick={() => setMenu(true)} />}
        <Link to="/" className="brand" aria-label={S.product}>
          <img src="/icon.svg" alt="" width="24" height="24" />
          <span className="brand-word">{S.product}</span>
        </Link>
        {FINDABLE.some(may) && <SearchBox />}
        <div className="top-end">
          {may("protection.read") && <JobsTray />}
          <AccountMenu theme={theme} onTheme={onTheme} />
        </div>
      </header>
      {narrow ? (
        <OverlayDrawer open={menu} onOpenChange={(_, data) => setMenu(data.open)} size="small" aria-label={S.nav.menu}>
          <ReturnFocus />
          <DrawerHeader>
            <DrawerHeaderTitle action={<Button appearance="subtle" icon={<DismissRegular />} aria-label={S.close} onClick={() => setMenu(false)} />}>
              {S.product}
            </DrawerHeaderTitle>
          </DrawerHeader>
          <DrawerBody>
            <Navigation onGo={() => setMenu(false)} />
          </DrawerBody>
        </OverlayDrawer>
      ) : (
        <div className="side">
          <Navigation />
        </div>
      )}
      <main id="content" className="content" tabIndex={-1} ref={main}>
        {may("protection.read") && <BypassBanner />}
        <Outlet />
      </main>
    </div>
  );
}

function AccountMenu({ theme, onTheme }: Props) {
  const me = useMe();
  const may = useMay();
  const navigate = useNavigate();
  const signOut = useSignOut();
  const leave = async () => {
    await signOut();
    void navigate("/sign-in");
  };
  return (
    <Menu checkedValues={{ theme: [theme] }} onCheckedValueChange={(_, data) => onTheme((data.checkedItems[0] ?? "system") as ThemeChoice)}>
      <MenuTrigger disableButtonEnhancement>
        <Button appearance="subtle" icon={<PersonCircleRegular />} aria-label={S.account.label(me.name)} />
      </MenuTrigger>
      <MenuPopover>
        <MenuList>
          <MenuGroup>
            <MenuGroupHeader>
              {me.name} · {S.role[me.role]} · {me.organisation.name}
            </MenuGroupHeader>
          </MenuGroup>
          <MenuDivider />
          <MenuGroup>
            <MenuGroupHeader>{S.theme.label}</MenuGroupHeader>
            {(["system", "light", "dark"] as const).map((choice) => (
              <MenuItemRadio key={choice} name="theme" value={choice}>
                {S.theme[choice]}
              </MenuItemRadio>
            ))}
          </MenuGroup>
          <MenuDivider />
          <MenuItem onClick={() => void navigate("/password")}>{S.account.password}</MenuItem>
          {may("mailbox.own") && me.person_id && <MenuItem onClick={() => void navigate("/app-passwords")}>{S.appPasswords.title}</MenuItem>}
          <MenuItem onClick={() => void leave()}>{S.account.signOut}</MenuItem>
          <MenuGroup>
            <MenuGroupHeader>{S.account.version(me.version)}</MenuGroupHeader>
          </MenuGroup>
        </MenuList>
      </MenuPopover>
    </Menu>
  );
}
