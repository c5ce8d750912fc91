export default {
  "area.title": "Que pousse-t-il dans une zone ?",
};
