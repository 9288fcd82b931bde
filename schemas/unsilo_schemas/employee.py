"""hr.employee: a person as an employer knows them, without the private fields."""

from datetime import date

from .entity import Coded, Entity, EntityType, Reference, words


class EmployeeStatus(Coded):
    category: str | None = words("active", "on_leave", "inactive")


class Employee(Entity):
    employee_number: str | None = None
    display_name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    preferred_name: str | None = None
    work_email: str | None = None
    status: EmployeeStatus | None = None
    hire_date: date | None = None
    termination_date: date | None = None
    job_title: str | None = None
    department: str | None = None
    division: str | None = None
    work_location: str | None = None
    manager: Reference | None = None


EMPLOYEE = EntityType(
    "hr",
    "employee",
    Employee,
    verbs=("created", "updated", "manager_changed", "deleted"),
    classification="confidential",
)
