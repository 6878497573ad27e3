// Light and dark: the system's choice until the viewer makes one. Colours are Fluent's; those of places are in styles.css.
import { webDarkTheme, webLightTheme } from "@fluentui/react-components";
import { useEffect, useState } from "react";
import { useMedia } from "./lib/hooks";

export type ThemeChoice = "system" | "light" | "dark";
const KEY = "landfall.theme";

function stored(): ThemeChoice {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "system";
}

export function useTheme() {
  const [choice, setChoice] = useState(stored);
  const systemIsDark = useMedia("(prefers-color-scheme: dark)");
  const dark = choice === "dark" || (choice === "system" && systemIsDark);
  useEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  const choose = (next: ThemeChoice) => {
    localStorage.setItem(KEY, next);
    setChoice(next);
  };
  return { theme: dark ? webDarkTheme : webLightTheme, choice, choose };
}
