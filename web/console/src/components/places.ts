// Places in the order in which bars and legends show them: good ones first. Colours are in styles.css by these names.
import type { Schemas } from "../lib/api";
import { S } from "../strings";

export type Place = Schemas["Place"];
export type PlaceCount = Schemas["PlaceCount"];

export const PLACES: Place[] = ["inbox", "other_folder", "junk", "quarantine", "deleted", "not_received", "on_its_way", "accepted", "unknown"];

export const placeWord = (place: Place, folder = "") => (place === "other_folder" && folder ? S.placeInFolder(folder) : S.place[place]);

export function inOrder(places: PlaceCount[]): PlaceCount[] {
  return PLACES.map((place) => ({ place, count: places.find((p) => p.place === place)?.count ?? 0 })).filter((p) => p.count > 0);
}

export const totalOf = (places: PlaceCount[]) => places.reduce((sum, p) => sum + p.count, 0);
