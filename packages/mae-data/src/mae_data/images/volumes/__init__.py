"""Files of many images: volumes, series and arrays, of which a name chooses one."""
