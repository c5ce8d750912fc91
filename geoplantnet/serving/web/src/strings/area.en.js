export default {
  "area.title": "What grows in an area?",
};
