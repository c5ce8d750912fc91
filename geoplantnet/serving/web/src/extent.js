// The land the map covers: west, south, east, north in metres of EPSG:3035.
export const EUROPE = [900_000, 900_000, 7_400_000, 6_500_000];
