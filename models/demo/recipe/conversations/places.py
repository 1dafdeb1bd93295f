"""Cities and countries."""

CITIES = tuple(
    (
        "Paris London Rome Tokyo Oslo Madrid Berlin Lisbon Athens Cairo Lima Delhi Boston Chicago Dublin Vienna "
        "Prague Warsaw Helsinki Nairobi Toronto Sydney Kyoto Milan Porto Seville Lyon Geneva Zurich Krakow Riga "
        "Tallinn Bergen Turin Naples Bari Genoa Nice Lille Ghent Delft Leeds York Bath Cork Galway Denver Austin "
        "Dallas Seattle Quito Bogota Havana Accra Lagos Tunis Fez"
    ).split()
)

COUNTRIES = tuple(
    (
        "France Spain Italy Japan China Brazil Peru Kenya Egypt Norway Sweden Poland India Canada Mexico Chile Greece "
        "Turkey Germany Ireland Portugal Austria Iceland Finland Cuba"
    ).split()
)
